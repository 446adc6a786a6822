# Functions over 80 lines, from universal-ctags' list:
#
#     ctags --fields=+ne --kinds-c=f -f - FILES | awk -F '\t' -v max=80 -f tests/lint/check_lengths.awk

/^!/ {
    next
}

{
    first = last = 0
    for (i = 4; i <= NF; i++) {
        if ($i ~ /^line:/)
            first = substr($i, 6)
        if ($i ~ /^end:/)
            last = substr($i, 5)
    }
    if (last > 0 && last - first + 1 > max) {
        printf "%s:%d: function %s has %d lines, more than %d\n", $2, first, $1, last - first + 1, max
        bad = 1
    }
}

END {
    exit bad
}
