# Completion of lockkeeper's commands and options for bash.

_lockkeeper() {
    local word=$2 previous=$3 command=${COMP_WORDS[1]}
    local commands="run check explain top reload drain healthcheck schema reference version help"

    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$word")
        return
    fi
    case $command in
    help)
        [ "$COMP_CWORD" -ne 2 ] || mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
        return
        ;;
    check | -t | run | explain | top | reload | drain | healthcheck) ;;
    *) return ;;
    esac
    case $previous in
    --format)
        COMPREPLY=(json)
        return
        ;;
    -H | --client | --admin | --metrics | --timeout | --wait | --interval) return ;;
    esac
    if [ "${word:0:1}" = - ]; then
        local options=--help
        case $command in
        check | -t) options="--format --help" ;;
        top) options="--once --format --interval --admin --help" ;;
        explain) options="-H --client --live --admin --help" ;;
        reload) options="--admin --timeout --help" ;;
        drain) options="--wait --admin --timeout --help" ;;
        healthcheck) options="--live --metrics --timeout --help" ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
        return
    fi
    # Policies: folders and YAML files.
    compopt -o filenames 2>/dev/null || true
    mapfile -t COMPREPLY < <(
        compgen -d -- "$word"
        compgen -f -X '!*.yaml' -- "$word"
        compgen -f -X '!*.yml' -- "$word"
    )
}
complete -F _lockkeeper lockkeeper
