#!/bin/sh
# Every check of the sources that needs no run.  Each prints file:line: what; each prints "ok" or
# "FAILED" on a line of its own, which tests/run_tests.py counts.
set -u
cd "$(dirname "$0")/../.." || exit 2

bad=0
sources=$(find proxy -name '*.[ch]' | sort)
all_c=$(find proxy tests -name '*.[ch]' | sort)

check() { # name, command...
    name=$1
    shift
    if "$@"; then
        echo "ok      lint: $name"
    else
        echo "FAILED  lint: $name"
        bad=1
    fi
}

layers() {
    awk -f tests/lint/check_layers.awk proxy/LAYERS $sources
}

function_lengths() {
    ctags --fields=+ne --kinds-c=f -f - $all_c | awk -F '\t' -v max=80 -f tests/lint/check_lengths.awk
}

# 600 lines is where a file should be cut along the noun it hides, 700 is where it must be.
file_lengths() {
    wc -l $all_c $(find lua tests -name '*.lua' -o -name '*.py' | sort) | awk '
        $2 == "total" { next }
        $1 > 700 { printf "%s:1: %d lines, more than 700\n", $2, $1; bad = 1; next }
        $1 > 600 { printf "%s:1: note: %d lines, more than 600\n", $2, $1 }
        END { exit bad }'
}

unique_tags() {
    awk -f tests/lint/check_tags.awk $sources
}

unique_stems() {
    find proxy -name '*.c' -printf '%f\n' | sort | uniq -d | awk '{ print "two files are called " $0; bad = 1 } END { exit bad }'
}

static_analysis() {
    cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability \
        --inline-suppr --suppressions-list=tests/lint/cppcheck.txt --error-exitcode=1 \
        -Iproxy -D_GNU_SOURCE '-D__VA_OPT__(...)=+0,' -j "$(nproc)" --template='{file}:{line}: {severity}: {message} [{id}]' \
        $(find proxy -name '*.c' | sort)
}

check 'include layers' layers
check 'function lengths' function_lengths
check 'file lengths' file_lengths
check 'unique type tags' unique_tags
check 'unique file stems' unique_stems
check 'cppcheck' static_analysis
exit $bad
