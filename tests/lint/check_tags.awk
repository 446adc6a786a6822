# Type tags (#define NAME_TAG value) must be unique in the tree, in name and in value: a stale pointer
# to one kind of object must not pass for another kind.

/^#define[ \t]+[A-Z0-9_]+_TAG[ \t]/ {
    value = tolower($3)
    if ($2 in by_name) {
        printf "%s:%d: %s is also defined at %s\n", FILENAME, FNR, $2, by_name[$2]
        bad = 1
    } else if (value in by_value) {
        printf "%s:%d: %s has the value of the tag at %s\n", FILENAME, FNR, $2, by_value[value]
        bad = 1
    }
    by_name[$2] = by_value[value] = FILENAME ":" FNR
}

END {
    exit bad
}
