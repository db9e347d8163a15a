#!/bin/sh
# Options or a configuration file alone mean the server; as root it gives /data to the user redis and becomes that user;
# anything else is run as it is.
set -e

# The first argument is an option (-f, --some-option) or a file (something.conf).
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
    set -- redis-server "$@"
fi

case "$1" in
redis-server | memkv-server)
    if [ "$(id -u)" = 0 ]; then
        find . \! -user redis -exec chown redis '{}' +
        exec setpriv --reuid=redis --regid=redis --clear-groups "$0" "$@"
    fi
    # Files are the server's own, unless somebody chose otherwise.
    if [ "$(umask)" = 0022 ]; then
        umask 0077
    fi
    # Only what a container publishes can be reached, so that protected mode is off unless the configuration names it.
    case " $* " in
    *protected-mode*) ;;
    *)
        file=${2-}
        case "$file" in '' | -*) file=/dev/null ;; esac
        if ! grep -qsi '^[[:space:]]*protected-mode' "$file"; then
            case "$#:${2-}" in
            1:* | *:-*) program=$1; shift; set -- "$program" --protected-mode no "$@" ;;
            *) program=$1; shift 2; set -- "$program" "$file" --protected-mode no "$@" ;;
            esac
        fi
        ;;
    esac
    ;;
esac

exec "$@"
