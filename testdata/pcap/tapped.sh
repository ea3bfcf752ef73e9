# tapped.sh is the part of record.sh that lets `mailwire tap -i`, $TAP, look on where tcpdump captures. Beside NAME.pcap,
# $OUT then has NAME.tap, which is what the tap recorded, and NAME.tap.log, which is what it printed.

tap_pids=()

# start_tap NAME SIDE does nothing if no tap is wanted.
start_tap() {
	[ -n "${TAP:-}" ] || return 0
	local what=$1 side=$2 port flags=()
	for port in $ports; do
		case $port in 110 | 995) flags+=(--pop3-port "$port") ;; *) flags+=(--smtp-port "$port") ;; esac
	done
	rm -rf "$out/$what.tap"
	# TestPeersTapped gives the reader of NAME.pcap, too, this sensor and these declarations of what is ours.
	$side "$TAP" tap -i eth0 "${flags[@]}" --data "$out/$what.tap" \
		--sensor peers --local-net "$server,$server6" --local-domain example.net >"$out/$what.tap.log" 2>&1 </dev/null &
	tap_pids+=($!)
	await "the tap" grep -q msg=capturing "$out/$what.tap.log"
}

# stop_taps ends them as an administrator would, and demands that they end well.
stop_taps() {
	local p status
	for p in "${tap_pids[@]}"; do
		kill -TERM "$p"
		status=0
		wait "$p" || status=$?
		[ $status = 0 ] || { echo "record: a tap ended with status $status" >&2; return 1; }
	done
}
