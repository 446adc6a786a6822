# The include rules of proxy/LAYERS: which module may include which, and which files may include a
# library's headers.
#
#     awk -f tests/lint/check_layers.awk proxy/LAYERS $(find proxy -name '*.[ch]')

function complain(what)
{
    printf "%s:%d: %s\n", FILENAME, FNR, what
    bad = 1
}

FILENAME ~ /LAYERS$/ {
    if ($1 ~ /:$/) {
        module = substr($1, 1, length($1) - 1)
        known[module] = 1
        for (i = 2; i <= NF; i++)
            may[module, $i] = 1
    } else if ($1 ~ /^</) {
        library[$1] = 1
        for (i = 2; i <= NF; i++)
            home[$1, $i] = 1
    }
    next
}

FNR == 1 {
    parts = split(FILENAME, path, "/")
    from = path[parts - 1]
    stem = from "/" path[parts]
    sub(/\.[ch]$/, "", stem)
    if (!(from in known))
        complain("module " from " is not named in proxy/LAYERS")
}

/^#[ \t]*include/ {
    what = $0
    sub(/^#[ \t]*include[ \t]*/, "", what)
    for (prefix in library)
        if (index(what, prefix) == 1 && !((prefix, from) in home) && !((prefix, stem) in home))
            complain(stem " may not include " what)
    if (what !~ /^"/)
        next
    split(what, included, /["\/]/)
    to = included[2]
    if (from != to && !((from, to) in may))
        complain(from " may not include " to)
}

END {
    exit bad
}
