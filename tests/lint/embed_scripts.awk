# Turns Lua files into C strings: awk -f embed_scripts.awk lua/*.lua > scripts.c
#
# lua/limits.lua becomes script_text_limits and script_size_limits (proxy/store/script.c declares
# them).  A line "-- @include name" is replaced by the lines of lua/name.lua; nothing else is changed
# or stripped, so that line numbers in Lua's messages are those of the file.

function stem_of(path)
{
    sub(/^.*\//, "", path)
    sub(/\.lua$/, "", path)
    return path
}

function fail(message)
{
    print "embed_scripts.awk: " message > "/dev/stderr"
    failed = 1
    exit 1
}

# Byte by byte, because awks differ in what backslashes in the replacement of gsub mean.
function escape(text,    i, c, out)
{
    if (text !~ /["\\]/)
        return text
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        out = out (c == "\"" || c == "\\" ? "\\" c : c)
    }
    return out
}

function emit(stem, depth,    i, line)
{
    if (!(stem in line_count))
        fail("no such script: " stem)
    if (depth > 5)
        fail("too many nested includes at " stem)
    for (i = 1; i <= line_count[stem]; i++) {
        line = lines[stem, i]
        if (line ~ /^ *-- @include [a-z_]+$/) {
            sub(/^.*@include /, "", line)
            emit(line, depth + 1)
            continue
        }
        print "    \"" escape(line) "\\n\""
    }
}

FNR == 1 {
    stem = stem_of(FILENAME)
    if (stem !~ /^[a-z_]+$/)
        fail("a script's name may have a-z and _ only: " FILENAME)
    stems[++stem_count] = stem
}
{ lines[stem, ++line_count[stem]] = $0 }

END {
    if (failed)
        exit 1
    print "/* Made from lua/ by tests/lint/embed_scripts.awk. */"
    print "#include <stddef.h>\n"
    for (s = 1; s <= stem_count; s++) {
        print "const char script_text_" stems[s] "[] ="
        emit(stems[s], 0)
        print "    ;"
        print "const size_t script_size_" stems[s] " = sizeof(script_text_" stems[s] ") - 1;\n"
    }
}
