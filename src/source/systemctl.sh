#!/bin/sh
# Written by zkops. It stands before systemctl(1) on the PATH of maintainer scripts while zkops installs a package, and
# leaves out what they ask for units that zkops drives: those wait for their turn in the rollout. All else goes through,
# daemon-reload and the units of other packages too; so does /usr/sbin/policy-rc.d, which deb-systemd-invoke(1) asks.
for real in /usr/bin/systemctl /bin/systemctl; do
    [ -x "$real" ] && break
done
units=${ZKOPS_UNIT_DIR:-/run/systemd/system}

# Whether zkops drives the unit, or an instance or a match of what may be a template or a pattern.
held() {
    case $1 in
    *.*) unit=$1 ;;
    *) unit=$1.service ;;
    esac
    for driven in $ZKOPS_HELD_UNITS; do
        # shellcheck disable=SC2254 # A pattern is to match.
        case $driven in
        $unit) return 0 ;;
        esac
        [ "${driven%%@*}@.service" = "$unit" ] && return 0
    done
    case $unit in
    *@.service) unit="${unit%.service}*.service" ;;
    esac
    for file in "$units"/$unit.d/50-zkops.conf; do
        [ -e "$file" ] && return 0
    done
    return 1
}

verb=
for word; do
    case $word in
    --user | --global) exec "$real" "$@" ;;
    -*) ;;
    *)
        verb=$word
        break
        ;;
    esac
done
case $verb in
start | stop | restart | reload | kill | isolate | condrestart | force-reload) now=y ;;
try-restart | reload-or-restart | try-reload-or-restart | reload-or-try-restart) now=y ;;
enable | disable | reenable | mask | preset) now= ;;
*) exec "$real" "$@" ;;
esac

# Once round all words, keeping what is not held.
left=$# seen= kept= spared=
while [ "$left" -gt 0 ]; do
    word=$1
    shift
    left=$((left - 1))
    if [ -n "$seen" ] && case $word in -*) false ;; esac && held "$word"; then
        spared="$spared $word"
        [ -n "$now" ] && continue
    fi
    case $word in
    -*) ;;
    *) if [ -n "$seen" ]; then kept=y; else seen=y; fi ;;
    esac
    set -- "$@" "$word"
done
if [ -n "$spared" ]; then
    echo "zkops drives$spared: $verb waits" >&2
    if [ -n "$now" ]; then
        [ -n "$kept" ] || exit 0
    else
        # Enabling and the like takes nothing from zkops; doing it --now would.
        left=$#
        while [ "$left" -gt 0 ]; do
            word=$1
            shift
            left=$((left - 1))
            [ "$word" = --now ] || set -- "$@" "$word"
        done
    fi
fi
exec "$real" "$@"
