# proxied.sh is the part of record.sh that puts `mailwire proxy`, $PROXY, between clients and servers. $MODE says how:
#
#   redirect        it runs on the server's host, whose packet filter redirects to it what comes in (nft's redirect);
#                   the server sees the host's own address. This is the default.
#   proxy-protocol  so too, but the server is told the client's address (--send-proxy v2).
#   terminate       as redirect, and it takes TLS off towards the client and puts it on again towards the server
#                   (--tls terminate).
#   transparent     it runs on a router between the two (nft's tproxy, --transparent); the server sees the client's
#                   address.
#
# What was for one of the case's ports goes to that port plus 10000. NAME.pcap is captured between client and proxy. Beside
# it and NAME.json, $OUT then has NAME.data, which is what the proxy recorded, and NAME.log, which is what it printed.

nearest="" # a prefix for commands: they run where the client's cable ends
router=""  # a process that has its namespace, if that is not the server's
told=""    # set if the server is told the client's address
proxy=""   # the proxy's process

mode=""
[ -z "${PROXY:-}" ] || mode=${MODE:-redirect}
case $mode in
"" | redirect | terminate | transparent) ;;
proxy-protocol) told=yes ;;
*)
	echo "record: MODE is redirect, proxy-protocol, terminate or transparent, not $mode" >&2
	exit 2
	;;
esac

# make_router makes a namespace between server and client. It answers for both (proxy ARP and NDP), so that they need not
# know of it.
make_router() {
	make_namespace --net
	router=$made
	nearest="nsenter --net -t $router"
	$nearest ip link set lo up
	$nearest ip addr add 192.0.2.1/32 dev lo
	ip link add eth0 type veth peer name eth1 netns "$router"
	bring_up "" eth0 $server/24 $server6/64
	bring_up "$nearest" eth1
	$nearest sysctl -q -w net.ipv4.ip_forward=1 net.ipv4.conf.all.proxy_arp=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.all.proxy_ndp=1
}

# address_router is address_cable's part for the router's end.
address_router() {
	bring_up "$nearest" eth0
	lead_to $client $client6 eth0 eth1
	lead_to $server $server6 eth1 eth0
}

# lead_to ADDRESS ADDRESS6 INTERFACE OTHER: the address is behind INTERFACE, and OTHER answers for it.
lead_to() {
	$nearest ip route replace "$1" dev "$3"
	$nearest ip route replace "$2" dev "$3"
	$nearest ip neigh replace proxy "$2" dev "$4"
	$nearest sysctl -q -w "net.ipv4.neigh.$4.proxy_delay=0" "net.ipv6.neigh.$4.proxy_delay=0"
}

# start_proxy does nothing if it runs already, or if none is wanted.
start_proxy() {
	[ -n "$mode" ] && [ -z "$proxy" ] || return 0
	local port kind flags=() rules=()
	for port in $ports; do
		case $port in 465) kind=smtps ;; 110) kind=pop3 ;; 995) kind=pop3s ;; *) kind=smtp ;; esac
		flags+=("--$kind" ":$((port + 10000))=original")
		rules+=("iifname eth0 tcp dport $port $(to_port $((port + 10000)))")
	done
	case $mode in
	proxy-protocol) flags+=(--send-proxy v2) ;;
	terminate) flags+=(--tls terminate --tls-cert "$tmp/cert.pem" --tls-key "$tmp/key.pem" --upstream-ca "$tmp/cert.pem" --upstream-name "$mx") ;;
	transparent) flags+=(--transparent) ;;
	esac
	rm -rf "$out/$name.data"
	# TestPeersThroughProxy gives the tap, too, this sensor and these declarations of what is ours.
	$nearest "$PROXY" proxy "${flags[@]}" --data "$out/$name.data" --archive all --log-level debug \
		--sensor peers --local-net "$server,$server6" --local-domain example.net >"$out/$name.log" 2>&1 </dev/null &
	proxy=$!
	pids+=("$proxy")
	await "the proxy" started
	! ended "$proxy" || return 1
	divert
}

# started is true when the proxy listens on all ports, and when it has given up.
started() {
	local port
	for port in $ports; do ended "$proxy" || listening $((port + 10000)) $router || return 1; done
}

to_port() { if [ "$mode" = transparent ]; then echo "tproxy to :$1 meta mark set 1 accept"; else echo "redirect to :$1"; fi; }

# divert tells the packet filter, by the rules of start_proxy, what is for the proxy.
divert() {
	local hook="type nat hook prerouting priority dstnat"
	if [ "$mode" = transparent ]; then
		hook="type filter hook prerouting priority mangle"
		# What belongs to one of the proxy's connections, as the server's replies to the client's address do, is for us.
		rules=("meta l4proto tcp socket transparent 1 meta mark set 1 accept" "${rules[@]}")
		$nearest ip rule add fwmark 1 lookup 100
		$nearest ip route add local 0.0.0.0/0 dev lo table 100
		$nearest ip -6 rule add fwmark 1 lookup 100
		$nearest ip -6 route add local ::/0 dev lo table 100
	fi
	{
		printf 'table inet mailwire {\n chain in {\n %s; policy accept;\n' "$hook"
		printf ' %s\n' "${rules[@]}"
		printf ' }\n}\n'
	} | $nearest nft -f -
}

# stop_proxy ends it as an administrator would, and demands that it ends well.
stop_proxy() {
	[ -n "$proxy" ] || return 0
	kill -TERM "$proxy"
	await "the end of the proxy" ended "$proxy"
	local status=0
	wait "$proxy" || status=$?
	[ $status = 0 ] || { echo "record: the proxy ended with status $status" >&2; return 1; }
}

ended() { ! kill -0 "$1" 2>/dev/null; }
