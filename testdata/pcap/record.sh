#!/bin/bash
# record.sh: records the captures of this directory anew, each from a real server and a real client.
#
#   testdata/pcap/record.sh             all of them
#   testdata/pcap/record.sh NAME...     only these (record.sh -l lists the names)
#
# It needs root and what install.sh installs. Everything happens in namespaces of its own (network, host name,
# mounts, processes): the servers have their standard ports, the machine's own mail system and network are neither
# seen nor touched, and whatever was started ends with its case. Each case starts its servers afresh from
# configuration and spools in a temporary directory, captures on the server's interface (unless it says otherwise),
# and then asks the servers, not the wire, what they did: truth.py writes that to NAME.json beside NAME.pcap.
# JOBS cases (2) are recorded at a time. KEEP=1 keeps their temporary directories. OUT=DIR puts what comes out there.
#
#   PROXY=bin/mailwire MODE=redirect OUT=DIR testdata/pcap/record.sh [NAME...]
#
# runs the cases with `mailwire proxy` between clients and servers: proxied.sh says how.
#
#   TAP=bin/mailwire OUT=DIR testdata/pcap/record.sh [NAME...]
#
# lets `mailwire tap -i` look on: tapped.sh says how.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin # where install.sh puts things

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=${MAILWIRE_PEERS:-/usr/local/lib/mailwire-peers}
out=${OUT:-$here}
. "$here/proxied.sh"
. "$here/tapped.sh"

if [ "${1:-}" = -l ]; then
	sed -n 's/^case_\([a-z0-9_]*\)().*/\1/p' "$0" | tr _ -
	exit
fi
if [ -z "${MAILWIRE_RECORDING:-}" ]; then
	if [ -n "${PROXY:-}${TAP:-}" ] && [ -z "${OUT:-}" ]; then
		echo "record: with PROXY or TAP, say by OUT=DIR where to put what comes out" >&2
		exit 2
	fi
	"$here/install.sh"
	[ $# -gt 0 ] || set -- $("$0" -l)
	export MAILWIRE_RECORDING=1
	printf '%s\n' "$@" | xargs -P "${JOBS:-2}" -n 1 unshare --mount --net --uts --pid --fork --kill-child --mount-proc bash "$0"
	exit
fi

# ---------------------------------------------------------------------------------------------------------------
# The world: a server's namespace, in which this script runs, and a client's, joined by a cable
# ---------------------------------------------------------------------------------------------------------------

server=192.0.2.25 server6=2001:db8::25
client=192.0.2.7 client6=2001:db8::7
mx=mx.example.net

name=$1
tmp=$(mktemp -d --suffix=.mailwire-record)
dir=$tmp/$name
mkdir "$dir"
chmod 755 "$tmp" "$dir"
pids=() # what was started, and is to end with this script at the latest
trap end_world EXIT
trap 'exit 1' INT TERM

end_world() {
	local status=$? p
	if [ $status != 0 ]; then
		echo "record: $name failed; what the clients said:" >&2
		[ ! -e "$dir/client.log" ] || tail -n 20 "$dir/client.log" >&2
		[ ! -e "$out/$name.log" ] || tail -n 20 "$out/$name.log" >&2
	fi
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	for p in "${pids[@]}"; do wait "$p" 2>/dev/null || true; done
	if [ -n "${KEEP:-}" ]; then echo "$name: kept $tmp"; else rm -rf "$tmp"; fi
}

make_world() {
	hostname "$mx"
	# Names as DNS would give them, seen only in our mount namespace.
	printf '127.0.0.1 localhost\n::1 localhost\n%s %s\n%s %s\n%s client.example.org\n%s client.example.org\n' \
		$server $mx $server6 $mx $client $client6 >"$tmp/hosts"
	echo "options attempts:1 timeout:1" >"$tmp/resolv.conf"
	mount --bind "$tmp/hosts" /etc/hosts
	mount --bind "$tmp/resolv.conf" /etc/resolv.conf

	make_namespace --net --uts
	client_ns=$made
	# Not a function: what is started with it in the background has to have the process id that we get.
	in_client="nsenter --net --uts -t $client_ns"
	$in_client hostname client.example.org
	ip link set lo up
	$in_client ip link set lo up
	[ "$mode" != transparent ] || make_router
	plug_cable
	openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=$mx" -addext "subjectAltName=DNS:$mx" \
		-keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2>/dev/null
	chmod 644 "$tmp/key.pem" # a throw-away key: each daemon reads it as a user of its own
}

# make_namespace KIND... starts a process, $made, that does nothing but have namespaces of its own.
make_namespace() {
	unshare "$@" sleep infinity &
	made=$!
	pids+=("$made")
	await "a namespace" bash -c "[ \$(readlink /proc/$made/ns/net) != \$(readlink /proc/self/ns/net) ]"
}

# plug_cable joins the client and what is nearest to it, the server or a router, by a veth pair. What a network card does
# on its way is switched off, so that the captures hold what a mirror port would show: frames of 1,500 octets with good
# checksums.
plug_cable() {
	$nearest ip link add eth0 type veth peer name eth0 netns "$client_ns"
	address_cable
}

# plug_bad_cable puts client.py between them, which loses, doubles and reorders frames. (Not every kernel has netem.) It has
# a namespace of its own, where nobody answers for the server before what is lost is lost.
plug_bad_cable() {
	$nearest ip link del eth0
	make_namespace --net
	$nearest ip link add eth0 type veth peer name wire1 netns "$made"
	$in_client ip link add eth0 type veth peer name wire0 netns "$made"
	local i in_cable="nsenter --net -t $made"
	for i in wire0 wire1; do
		$in_cable sysctl -q -w net.ipv6.conf.$i.disable_ipv6=1
		$in_cable ip link set "$i" up
	done
	address_cable
	$in_cable python3 "$here/client.py" wire wire0 wire1 >"$dir/wire.log" 2>&1 &
	pids+=($!)
	await "bad cable" grep -q up "$dir/wire.log"
}

address_cable() {
	bring_up "$in_client" eth0 $client/24 $client6/64
	if [ -z "$nearest" ]; then bring_up "" eth0 $server/24 $server6/64; else address_router; fi
}

# bring_up WHERE INTERFACE ADDRESS...
bring_up() {
	local where=$1 interface=$2 address
	shift 2
	$where ethtool -K "$interface" rx off tx off sg off tso off gso off gro off >/dev/null 2>&1 || true
	$where ip link set "$interface" up
	for address in "$@"; do
		case $address in
		*:*) $where ip addr add "$address" dev "$interface" nodad ;;
		*) $where ip addr add "$address" dev "$interface" ;;
		esac
	done
}

# await WHAT COMMAND... waits until the command is true, half a minute at most.
await() {
	local what=$1 i
	shift
	for ((i = 0; i < 600; i++)); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.05
	done
	echo "record: waited in vain for $what" >&2
	return 1
}

# listening PORT [PID] looks into the network of that process, or ours.
listening() {
	local hex list
	printf -v hex %04X "$1"
	for list in /proc/"${2:-self}"/net/{tcp,tcp6}; do
		# Address and port of both ends, then the state: LISTEN.
		if read -r -d '' list <"$list" || [[ $list =~ :$hex\ [0-9A-F]+:0000\ 0A\  ]]; then return; fi
	done
	return 1
}

# ---------------------------------------------------------------------------------------------------------------
# The servers. Each keeps the mail that it takes in its queue, where truth.py finds it.
# ---------------------------------------------------------------------------------------------------------------

# start_postfix ["NAME = VALUE" ...] with more settings for main.cf. $on: where it runs, the server's side if empty.
start_postfix() {
	local etc=$dir/postfix/etc
	mkdir -p "$etc" "$dir/postfix/data" "$dir"/postfix/queue/{active,bounce,corrupt,defer,deferred,flush,hold,incoming,maildrop,pid,private,public,saved,trace}
	chown postfix "$dir/postfix/data" "$dir"/postfix/queue/*
	chown root "$dir/postfix/queue/pid"
	touch "$dir/postfix/queue/quick-start" # all is new: nothing to check, which would take as long as the case
	cat >"$etc/main.cf" <<-END
		compatibility_level = 3.6
		queue_directory = $dir/postfix/queue
		data_directory = $dir/postfix/data
		maillog_file = $dir/postfix/log
		maillog_file_prefixes = $tmp
		mail_owner = postfix
		setgid_group = postdrop
		myhostname = $mx
		mydestination =
		mynetworks = 127.0.0.0/8
		inet_interfaces = all
		inet_protocols = all
		smtp_host_lookup = native
		smtp_dns_support_level = disabled
		virtual_mailbox_domains = example.net
		virtual_mailbox_maps = texthash:$etc/mailboxes
		local_recipient_maps =
		defer_transports = smtp, virtual, relay
		smtputf8_autodetect_classes = sendmail, verify
		message_size_limit = $size_limit
		smtpd_client_port_logging = yes
		smtpd_helo_required = yes
		smtpd_helo_restrictions = reject_invalid_helo_hostname
		smtpd_sender_restrictions = check_sender_access texthash:$etc/senders
		smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
		smtpd_recipient_restrictions = check_recipient_access texthash:$etc/recipients
		header_checks = regexp:$etc/headers
		smtpd_error_sleep_time = 0
		smtpd_hard_error_limit = 10
		smtpd_sasl_type = dovecot
		smtpd_sasl_path = $dir/dovecot/auth
		smtpd_sasl_security_options =
		smtpd_tls_security_level = may
		smtpd_tls_cert_file = $tmp/cert.pem
		smtpd_tls_key_file = $tmp/key.pem
		smtpd_tls_loglevel = 1
	END
	local setting
	[ -z "$told" ] || [ -n "$on" ] || set -- "$@" "smtpd_upstream_proxy_protocol = haproxy"
	for setting in "$@"; do
		sed -i "/^${setting%% =*} =/d" "$etc/main.cf"
		echo "$setting" >>"$etc/main.cf"
	done
	printf '%s@example.net x\n' alice bob carol greylisted blocked full >"$etc/mailboxes"
	printf 'greylisted@example.net 450 4.7.1 Greylisted, please try again in 300 seconds\nblocked@example.net 550 5.7.1 Mailbox is not for you\n' >"$etc/recipients"
	echo 'bad.example 554 5.7.1 Sender on our block list, see https://bl.example/q?192.0.2.7' >"$etc/senders"
	echo '/^X-Refuse-This:/ REJECT 5.7.1 Refused for its content' >"$etc/headers"
	cat >"$etc/master.cf" <<-END
		25         inet  n - n - - smtpd
		587        inet  n - n - - smtpd -o smtpd_sasl_auth_enable=yes
		465        inet  n - n - - smtpd -o smtpd_tls_wrappermode=yes
		pickup     unix  n - n 60 1 pickup
		cleanup    unix  n - n - 0 cleanup
		qmgr       unix  n - n 300 1 qmgr
		tlsmgr     unix  - - n 1000? 1 tlsmgr
		rewrite    unix  - - n - - trivial-rewrite
		bounce     unix  - - n - 0 bounce
		defer      unix  - - n - 0 bounce
		trace      unix  - - n - 0 bounce
		verify     unix  - - n - 1 verify
		proxymap   unix  - - n - - proxymap
		smtp       unix  - - n - - smtp
		relay      unix  - - n - - smtp
		lmtp       unix  - - n - - lmtp
		showq      unix  n - n - - showq
		error      unix  - - n - - error
		retry      unix  - - n - - error
		discard    unix  - - n - - discard
		virtual    unix  - n n - - virtual
		anvil      unix  - - n - 1 anvil
		postlog    unix-dgram n - n - 1 postlogd
	END
	$on postfix -c "$etc" start-fg >"$dir/postfix/out" 2>&1 </dev/null &
	pids+=($!)
	await Postfix listening 25 ${on:+$client_ns}
}

# Users and their passwords: every secret begins with "canary-".
dovecot_users() {
	local u
	for u in alice:canary-alice-5e2f bob:canary-bob-71c0 carol:canary-carol-08d9; do
		echo "${u%%:*}:{PLAIN}${u#*:}:8:8::$dir/mail/${u%%:*}::"
	done
	echo "guest:{PLAIN}canary-guest-a6d4:8:8::$dir/mail/guest::" # who is ANONYMOUS
	echo "full:{PLAIN}canary-full-3377:8:8::$dir/mail/full::userdb_quota_rule=*:bytes=200"
}

# start_dovecot is POP3, LMTP, and the SASL service of the others.
start_dovecot() {
	mkdir -p "$dir/dovecot" "$dir/mail"
	chmod 755 "$dir" "$dir/dovecot"
	chown mail:mail "$dir/mail"
	dovecot_users >"$dir/dovecot/users"
	cat >"$dir/dovecot/conf" <<-END
		base_dir = $dir/dovecot/run
		state_dir = $dir/dovecot/state
		log_path = $dir/dovecot/log
		log_timestamp = "%Y-%m-%d %H:%M:%S "
		auth_verbose = yes
		auth_debug = yes
		protocols = pop3 lmtp
		listen = *, ::
		ssl = yes
		ssl_cert = <$tmp/cert.pem
		ssl_key = <$tmp/key.pem
		disable_plaintext_auth = no
		mail_location = maildir:~/Maildir
		first_valid_uid = 8
		first_valid_gid = 8
		auth_mechanisms = $dovecot_mechanisms
		auth_anonymous_username = guest
		auth_username_format = %Ln
		auth_failure_delay = 0
		# Without its listener the anvil cannot slow down logins from an address that has failed before.
		service anvil {
		  unix_listener anvil-auth-penalty {
		    mode = 0
		  }
		}
		service auth {
		  unix_listener $dir/dovecot/auth {
		    mode = 0666
		  }
		}
		haproxy_trusted_networks = $server $server6
		service pop3-login {
		  inet_listener pop3 {
		    port = 110
		    haproxy = ${told:-no}
		  }
		  inet_listener pop3s {
		    port = 995
		    ssl = yes
		    haproxy = ${told:-no}
		  }
		}
		service lmtp {
		  inet_listener lmtp {
		    port = 24
		    haproxy = ${told:-no}
		  }
		}
		mail_plugins = quota
		plugin {
		  quota = maildir:User quota
		}
		passdb {
		  driver = oauth2
		  mechanisms = xoauth2 oauthbearer
		  args = $dir/dovecot/oauth2
		}
		passdb {
		  driver = passwd-file
		  args = $dir/dovecot/users
		}
		userdb {
		  driver = passwd-file
		  args = $dir/dovecot/users
		}
	END
	cat >"$dir/dovecot/oauth2" <<-END
		tokeninfo_url = http://127.0.0.1:8088/tokeninfo?access_token=
		introspection_mode = auth
		username_attribute = user
		active_attribute = active
		active_value = true
	END
	case $dovecot_mechanisms in *oauth*) start_token_server ;; esac
	dovecot -F -c "$dir/dovecot/conf" >"$dir/dovecot/out" 2>&1 </dev/null &
	pids+=($!)
	await Dovecot listening 110
	await Dovecot test -S "$dir/dovecot/auth"
}

# start_token_server says which OAuth 2 tokens are good, on the server's own loopback.
start_token_server() {
	python3 - >"$dir/tokens.log" 2>&1 <<-'END' &
		from http.server import BaseHTTPRequestHandler, HTTPServer
		class Tokens(BaseHTTPRequestHandler):
		    def do_GET(self):
		        good = self.path.endswith("canary-token-alice-93ab")
		        body = b'{"user":"alice","active":"true"}' if good else b'{"error":"invalid_token"}'
		        self.send_response(200 if good else 401)
		        self.send_header("Content-Type", "application/json")
		        self.send_header("Content-Length", str(len(body)))
		        self.end_headers()
		        self.wfile.write(body)
		HTTPServer(("127.0.0.1", 8088), Tokens).serve_forever()
	END
	pids+=($!)
	await "token server" listening 8088
}

# maildrop USER puts three mails, one with dots at the beginning of lines, into a maildrop of Dovecot's. truth.py finds
# them in drop/USER, also when a client has deleted them.
maildrop() {
	local drop=$dir/drop/$1 maildir=$dir/mail/$1/Maildir
	mkdir -p "$drop" "$maildir/new" "$maildir/cur" "$maildir/tmp"
	printf 'From: <a@example.org>\nTo: <%s@example.net>\nSubject: First\nDate: Sun, 22 Nov 2026 03:04:05 +0100\nMessage-ID: <1@example.org>\n\nHello.\n' "$1" >"$drop/1795313045.1.mx"
	printf 'From: <b@example.org>\nTo: <%s@example.net>\nSubject: Dots\nMessage-ID: <2@example.org>\n\n.\n..\n.hidden\n+OK is not a reply here\n-ERR neither\n\n.\nend\n' "$1" >"$drop/1795313046.2.mx"
	attachment_mail "$1" | tr -d '\r' >"$drop/1795313047.3.mx"
	cp "$drop"/* "$maildir/new"
	chown -R mail:mail "$dir/mail/$1"
}

# attachment_mail USER writes a MIME mail with an attachment, CRLF line ends.
attachment_mail() {
	printf '%s\r\n' "From: Jürgen <a@example.org>" "To: <$1@example.net>" "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=" "Date: Sun, 22 Nov 2026 03:04:05 +0100" \
		"Message-ID: <3@example.org>" "MIME-Version: 1.0" 'Content-Type: multipart/mixed; boundary="=_b1"' "" "A preamble." "--=_b1" \
		"Content-Type: text/plain; charset=utf-8" "Content-Transfer-Encoding: 8bit" "" "Grüße!" ".signature" "--=_b1" \
		"Content-Type: application/octet-stream; name=all-octets.bin" "Content-Disposition: attachment; filename*=utf-8''all%20octets.bin" \
		"Content-Transfer-Encoding: base64" ""
	python3 -c 'import base64,sys; sys.stdout.write(base64.encodebytes(bytes(range(256))*4).decode().replace("\n", "\r\n"))'
	printf '%s\r\n' "--=_b1--" "An epilogue."
}

exim() { "$peers/exim4/usr/sbin/exim4" "$@"; }

# start_exim needs start_dovecot before it if $exim_dovecot is set: then it asks Dovecot for more mechanisms.
start_exim() {
	mkdir -p "$dir/exim/spool" "$dir/exim/log"
	chown -R Debian-exim "$dir/exim"
	cat >"$dir/exim/conf" <<-END
		exim_path = $peers/exim4/usr/sbin/exim4
		keep_environment =
		add_environment = PATH=/usr/bin:/bin
		spool_directory = $dir/exim/spool
		log_file_path = $dir/exim/log/%slog
		log_selector = +received_recipients +received_sender +smtp_no_mail +smtp_protocol_error +smtp_syntax_error +incoming_port +smtp_mailauth
		pid_file_path = $dir/exim/pid
		primary_hostname = $mx
		daemon_smtp_ports = 25 : 587 : 465
		tls_on_connect_ports = 465
		hosts_proxy = ${told:+*}
		tls_advertise_hosts = *
		tls_certificate = $tmp/cert.pem
		tls_privatekey = $tmp/key.pem
		rfc1413_query_timeout = 0s
		queue_only = true
		prdr_enable = true
		smtputf8_advertise_hosts = *
		dsn_advertise_hosts = *
		message_size_limit = $size_limit
		acl_smtp_helo = helo
		acl_smtp_rcpt = rcpt
		acl_smtp_data = data
		begin acl
		helo:
		  deny message = Names do not begin with a bracket
		       condition = \${if match{\$sender_helo_name}{^\\\\[bad}}
		  accept
		rcpt:
		  accept authenticated = *
		  deny message = Sender on our block list, see https://bl.example/q?\$sender_host_address
		       sender_domains = bad.example
		  deny message = relay not permitted
		       domains = !example.net
		  defer message = Greylisted, please try again in 300 seconds
		       local_parts = greylisted
		  deny message = Mailbox is not for you
		       local_parts = blocked
		  require verify = recipient
		  accept
		data:
		  deny message = Refused for its content
		       condition = \${if def:h_X-Refuse-This:}
		  accept
		begin routers
		here:
		  driver = accept
		  domains = example.net
		  local_parts = alice : bob : carol
		  transport = keep
		elsewhere:
		  driver = accept
		  domains = !example.net
		  transport = keep
		begin transports
		keep:
		  driver = appendfile
		  file = /dev/null
		begin authenticators
		plain:
		  driver = plaintext
		  public_name = PLAIN
		  server_prompts = :
		  server_condition = \${if eq{\$auth3}{\${lookup{\$auth2}lsearch{$dir/exim/passwords}}}}
		  server_set_id = \$auth2
		  server_advertise_condition = \${if eq{\$received_port}{587}}
		login:
		  driver = plaintext
		  public_name = LOGIN
		  server_prompts = User Name : Password
		  server_condition = \${if eq{\$auth2}{\${lookup{\$auth1}lsearch{$dir/exim/passwords}}}}
		  server_set_id = \$auth1
		  server_advertise_condition = \${if eq{\$received_port}{587}}
		cram:
		  driver = cram_md5
		  public_name = CRAM-MD5
		  server_secret = \${lookup{\$auth1}lsearch{$dir/exim/passwords}{\$value}fail}
		  server_set_id = \$auth1
		  server_advertise_condition = \${if eq{\$received_port}{587}}
		ntlm:
		  driver = spa
		  public_name = NTLM
		  server_password = \${lookup{\$auth1}lsearch{$dir/exim/passwords}{\$value}fail}
		  server_set_id = \$auth1
		  server_advertise_condition = \${if eq{\$received_port}{587}}
	END
	printf 'alice: canary-alice-5e2f\nbob: canary-bob-71c0\n' >"$dir/exim/passwords"
	local m
	for m in ${exim_dovecot:-}; do
		cat >>"$dir/exim/conf" <<-END
			dovecot_${m//-/_}:
			  driver = dovecot
			  public_name = $m
			  server_socket = $dir/dovecot/auth
			  server_set_id = \$auth1
			  server_advertise_condition = \${if eq{\$received_port}{587}}
		END
	done
	exim -C "$dir/exim/conf" -bdf -oX 25:587:465 >"$dir/exim/out" 2>&1 </dev/null &
	pids+=($!)
	await Exim listening 25
	await Exim listening 587
}

# exim_sends FILE SENDER RECIPIENT...: Exim on the client's side delivers a mail to the server.
exim_sends() {
	local file=$1 sender=$2
	shift 2
	mkdir -p "$dir/exim-client"
	chown Debian-exim "$dir/exim-client"
	cat >"$dir/exim-client/conf" <<-END
		exim_path = $peers/exim4/usr/sbin/exim4
		keep_environment =
		spool_directory = $dir/exim-client
		log_file_path = $dir/exim-client/%slog
		primary_hostname = client.example.org
		deliver_drop_privilege = true
		begin routers
		there:
		  driver = manualroute
		  route_list = * $server
		  self = send
		  transport = there
		begin transports
		there:
		  driver = smtp
		  hosts_avoid_tls = *
		  hosts_try_chunking = *
		  hosts_try_prdr = *
		  hosts_try_fastopen =
	END
	$in_client "$peers/exim4/usr/sbin/exim4" -C "$dir/exim-client/conf" -odf -oi -f "$sender" "$@" <"$file"
}

# start_opensmtpd: its spool and socket have fixed places, which it finds empty in a mount namespace of its own.
start_opensmtpd() {
	mkdir -p "$dir/opensmtpd/spool"
	chmod 711 "$dir/opensmtpd/spool"
	printf 'alice\t%s\nbob\t%s\n' "$(openssl passwd -6 canary-alice-5e2f)" "$(openssl passwd -6 canary-bob-71c0)" >"$dir/opensmtpd/passwords"
	cp "$tmp/key.pem" "$dir/opensmtpd/key.pem"
	chmod 600 "$dir/opensmtpd/key.pem"
	cat >"$dir/opensmtpd/conf" <<-END
		pki $mx cert "$tmp/cert.pem"
		pki $mx key "$dir/opensmtpd/key.pem"
		table passwords file:$dir/opensmtpd/passwords
		table mailboxes { "alice@example.net", "bob@example.net", "carol@example.net" }
		smtp max-message-size $size_limit
		listen on $server port 25 tls pki $mx hostname $mx ${told:+proxy-v2}
		listen on $server port 587 tls pki $mx auth-optional <passwords> hostname $mx ${told:+proxy-v2}
		action "keep" relay host smtp://127.0.0.1:26
		match auth from any for any action "keep"
		match mail-from regex "@bad\\.example" from any for any reject
		match from any for domain "example.net" rcpt-to <mailboxes> action "keep"
	END
	unshare --mount bash -c '
		mount --bind "$1/spool" /var/spool/smtpd
		mount -t tmpfs none /run
		exec "$2" -d -v -f "$1/conf"' - "$dir/opensmtpd" "$peers/opensmtpd/usr/sbin/smtpd" >"$dir/opensmtpd/log" 2>&1 </dev/null &
	pids+=($!)
	await OpenSMTPD listening 587
	sleep 0.3
}

# ---------------------------------------------------------------------------------------------------------------
# One case
# ---------------------------------------------------------------------------------------------------------------

# run_case: the case function sets what truth.py is to know, starts servers, captures and lets clients speak.
run_case() {
	make_world
	about="" by="" oracle="" clients="" protocol=smtp ports=25 visible=all also="" after=: missing="" on="" size_limit=100000
	dovecot_mechanisms="plain login"
	exim_dovecot=""
	tcpdump_pids=()
	export LEDGER=$dir/ledger
	: >"$LEDGER"
	"case_${name//-/_}"
	end_case
	echo "$name: $SECONDS s, $(stat -c %s "$out/$name.pcap") octets"
}

# capture [NAME [SIDE]] starts to record, and before it the proxy if there is to be one; $in_client as SIDE records at the
# client's end.
capture() {
	local what=${1:-$name} side=${2:-$nearest}
	start_proxy
	local filter="tcp and ( $(for p in $ports; do printf 'port %s or ' "$p"; done) port 1 )"
	$side tcpdump -i eth0 -n -s 0 -U --immediate-mode -Z root -w "$dir/$what.pcap" "$filter" 2>"$dir/$what.tcpdump" &
	tcpdump_pids+=($!)
	await tcpdump grep -q "listening on" "$dir/$what.tcpdump"
	start_tap "$what" "$side"
}

# say lets a client speak, on its side; what it prints is kept, its failure ends the recording.
say() {
	echo "--- $*" >>"$dir/client.log"
	$in_client "$@" >>"$dir/client.log" 2>&1 </dev/null
}

# try is say for a client that will be refused.
try() { say "$@" || true; }

raw() { say python3 "$here/client.py" "$@"; }

# quiet is true when no connection is open any more.
quiet() {
	local where
	for where in "" "$nearest" "$in_client"; do
		if $where ss -Htn state connected exclude time-wait | grep -qv 127.0.0.1; then return 1; fi
	done
}

end_case() {
	await "the end of all connections" quiet
	sleep 0.4
	stop_proxy
	stop_taps
	local p c
	for p in "${tcpdump_pids[@]}"; do kill "$p"; done
	for p in "${tcpdump_pids[@]}"; do wait "$p" || true; done
	$after
	for c in $name $also; do
		cp "$dir/$c.pcap" "$out/$c.pcap"
		python3 "$here/truth.py" "$c" --dir "$dir" --oracle "${oracle:-$by}" --by "$by" --clients "$clients" --about "$about" \
			--protocol "$protocol" --ports "$ports" --visible "$visible" --missing "$missing" --peers "$peers" >"$out/$c.json"
	done
}

swaks=(swaks --timeout 10 --suppress-data --ehlo client.example.org)

# --- Postfix ----------------------------------------------------------------------------------------------------

case_postfix_simple() {
	about="one mail with an attachment, and one by curl in a session of its own"
	by=postfix clients="swaks curl"
	start_postfix
	capture
	head -c 3000 /dev/zero | tr '\0' 'x' >"$dir/report.txt"
	say "${swaks[@]}" -s $server -f a@example.org -t alice@example.net,bob@example.net --h-Subject "With attachment" \
		--body $'Here it is.\n.\n..and more' --attach-name report.txt --attach-type text/plain --attach "@$dir/report.txt"
	attachment_mail carol >"$dir/mail.eml"
	say curl -sS "smtp://$server/client.example.org" --mail-from a@example.org --mail-rcpt carol@example.net -T "$dir/mail.eml"
}

case_postfix_pipelining() {
	about="pipelined groups of commands, two transactions in a session, the next command behind the end of data, one recipient refused; a session sent before the greeting"
	by=postfix clients="client.py swaks"
	start_postfix
	capture
	raw smtp-pipelining $server
	say "${swaks[@]}" -s $server --pipeline -f a@example.org -t alice@example.net,bob@example.net --h-Subject "Pipelined by swaks"
	raw smtp-early $server
}

case_postfix_source() {
	about="ten mails in ten sessions, three at a time, by Postfix's own load generator"
	by=postfix clients="smtp-source"
	start_postfix
	capture
	say smtp-source -c -m 10 -s 3 -l 600 -f a@example.org -t alice@example.net -M client.example.org "inet:$server:25"
}

case_postfix_bdat() {
	about="BDAT: three chunks, BDAT 0 LAST, pipelined chunks, lines with a single dot, a transaction given up, a chunk without a recipient"
	by=postfix clients="client.py"
	start_postfix
	capture
	raw smtp-bdat $server
	raw smtp-bdat-errors $server
}

case_postfix_from_exim() {
	about="Exim delivers to Postfix: BDAT and pipelining as Exim does it, several recipients, one refused"
	by=postfix clients="exim"
	start_postfix
	capture
	attachment_mail alice >"$dir/mail.eml"
	exim_sends "$dir/mail.eml" a@example.org alice@example.net bob@example.net nobody@example.net
	printf 'Subject: Dots\n\n.\n..\n.x\n' >"$dir/dots.eml"
	exim_sends "$dir/dots.eml" b@example.org carol@example.net
}

case_postfix_rejected() {
	about="unknown user, relaying, greylisting, block list, HELO, SIZE and size, refused content, one good recipient out of two"
	by=postfix clients="client.py swaks" size_limit=20000
	start_postfix "smtpd_delay_reject = no"
	capture
	raw smtp-rejected $server
	raw smtp-too-big $server
	try "${swaks[@]}" -s $server -f a@example.org -t nobody@example.net
}

case_postfix_errors() {
	about="wrong order and syntax until Postfix says 421, a session left in mid-mail, one reset in mid-mail, one half closed, one timed out"
	by=postfix clients="client.py"
	start_postfix "smtpd_timeout = 3s"
	capture
	raw smtp-errors $server
	raw smtp-timeout $server
}

case_postfix_extensions() {
	about="SIZE, BODY, SMTPUTF8, RET, ENVID, NOTIFY and ORCPT, UTF-8 in envelope and header, the null sender, a source route, the end of data octet by octet"
	by=postfix clients="client.py"
	start_postfix
	capture
	raw smtp-extensions $server
}

postfix_mechanisms="PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER EXTERNAL ANONYMOUS"

case_postfix_auth() {
	about="each mechanism: right, wrong, without initial response, cancelled; then several attempts in one session and a mail"
	by=postfix clients="client.py" ports=587
	dovecot_mechanisms=${postfix_mechanisms,,}
	start_dovecot
	start_postfix
	capture
	raw smtp-auth $server 587 $postfix_mechanisms
	raw smtp-auth-split $server 587
}

case_postfix_auth_clients() {
	about="the same mechanisms as swaks and curl do them, right and wrong, some with a mail"
	by=postfix clients="swaks curl" ports=587
	dovecot_mechanisms="plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer"
	start_dovecot
	start_postfix
	capture
	local m
	for m in PLAIN LOGIN CRAM-MD5; do
		say "${swaks[@]}" -s $server -p 587 -a $m -au alice -ap canary-alice-5e2f -f alice@example.net -t x@elsewhere.example --h-Subject "AUTH $m by swaks"
		try "${swaks[@]}" -s $server -p 587 -a $m -au alice -ap canary-wrong-d41d -f alice@example.net -t x@elsewhere.example
	done
	attachment_mail alice >"$dir/mail.eml"
	local curl=(curl -sS "smtp://$server:587/client.example.org" --mail-from bob@example.net --mail-rcpt x@elsewhere.example -T "$dir/mail.eml")
	# curl 7.88 gives up DIGEST-MD5 when it has seen the challenge: a cancelled attempt.
	for m in PLAIN LOGIN CRAM-MD5 DIGEST-MD5; do
		try "${curl[@]}" --login-options "AUTH=$m" -u bob:canary-bob-71c0
		try "${curl[@]}" --login-options "AUTH=$m" -u bob:canary-wrong-d41d
	done
	say "${curl[@]}" --sasl-ir --login-options AUTH=PLAIN -u bob:canary-bob-71c0
	for m in XOAUTH2 OAUTHBEARER; do
		say "${curl[@]}" --login-options "AUTH=$m" -u alice --oauth2-bearer canary-token-alice-93ab
		try "${curl[@]}" --login-options "AUTH=$m" -u alice --oauth2-bearer canary-expired-token-0b7e
	done
}

case_postfix_starttls() {
	about="STARTTLS with a mail and a login inside TLS (swaks, curl); STARTTLS with a command in clear behind it; STARTTLS refused and a mail in clear"
	by=postfix clients="swaks curl client.py" ports="25 587" visible=until-tls
	start_dovecot
	start_postfix
	capture
	say "${swaks[@]}" -s $server --tls --tls-sni $mx -f a@example.org -t alice@example.net --h-Subject "In TLS"
	attachment_mail bob >"$dir/mail.eml"
	say curl -sS --ssl-reqd -k "smtp://$server:587/client.example.org" -u alice:canary-alice-5e2f --mail-from alice@example.net --mail-rcpt bob@example.net -T "$dir/mail.eml"
	try python3 "$here/client.py" smtp-starttls-injection $server
	raw smtp-starttls-refused $server
}

case_postfix_smtps() {
	about="implicit TLS on port 465: TLS 1.3 and TLS 1.2"
	by=postfix clients="swaks" ports=465 visible=none
	start_postfix
	capture
	say "${swaks[@]}" -s $server -p 465 --tls-on-connect --tls-sni $mx -f a@example.org -t alice@example.net --h-Subject "In TLS 1.3"
	say "${swaks[@]}" -s $server -p 465 --tls-on-connect --tls-protocol tlsv1_2 --tls-sni $mx -f b@example.org -t bob@example.net --h-Subject "In TLS 1.2"
}

case_postfix_lmtp() {
	about="Postfix delivers to Dovecot by LMTP over TCP: two recipients, one over quota; an unknown one"
	by="postfix dovecot" oracle=dovecot-lmtp clients="postfix" protocol=lmtp ports=24
	start_dovecot
	on=$in_client
	start_postfix "defer_transports =" "virtual_transport = lmtp:inet:[$server]:24" "virtual_destination_recipient_limit = 10" "lmtp_destination_recipient_limit = 10" "lmtp_host_lookup = native" "smtputf8_enable = no"
	capture
	attachment_mail alice >"$dir/mail.eml"
	$in_client sendmail -C "$dir/postfix/etc" -oi -f a@example.org alice@example.net full@example.net bob@example.net <"$dir/mail.eml"
	printf 'Subject: Dots\n\n.\n..\n.x\n' | $in_client sendmail -C "$dir/postfix/etc" -oi -f b@example.org bob@example.net blocked@example.net
	await "delivery to alice" bash -c "grep -q 'to=<alice@.*status=sent' '$dir/postfix/log'"
	await "delivery to bob" bash -c "[ \$(grep -c 'to=<bob@.*status=sent' '$dir/postfix/log') = 2 ]"
}

case_postfix_smuggling() {
	about="every form of a false end of data with a second transaction behind it, Postfix 3.7 as it comes: tolerant"
	by=postfix clients="client.py"
	start_postfix
	capture
	raw smtp-smuggling $server
}

case_postfix_smuggling_normalize() {
	about="the same forms with smtpd_forbid_bare_newline = normalize"
	by=postfix clients="client.py"
	start_postfix "smtpd_forbid_bare_newline = normalize" "smtpd_forbid_bare_newline_exclusions ="
	capture
	raw smtp-smuggling $server
}

case_postfix_smuggling_reject() {
	about="the same forms with smtpd_forbid_bare_newline = reject"
	by=postfix clients="client.py"
	start_postfix "smtpd_forbid_bare_newline = reject" "smtpd_forbid_bare_newline_exclusions ="
	capture
	raw smtp-smuggling $server
}

case_postfix_ipv6() {
	about="one mail over IPv6"
	by=postfix clients="swaks"
	start_postfix
	capture
	say "${swaks[@]}" -s "[$server6]" -f a@example.org -t alice@example.net --h-Subject "Over IPv6"
}

case_postfix_lossy() {
	about="a mail of 60 kB over a cable that loses, doubles and reorders packets, seen at the server's end: real retransmissions"
	by=postfix clients="client.py" also="postfix-lossy-client"
	plug_bad_cable
	start_postfix
	capture
	capture postfix-lossy-client "$in_client"
	raw smtp-big $server
}

case_postfix_offload() {
	about="a mail of 60 kB with segmentation offload: frames far above 1,500 octets, checksums not yet filled in"
	by=postfix clients="client.py"
	start_postfix
	$nearest ethtool -K eth0 rx on tx on sg on tso on gso on gro on >/dev/null 2>&1 || true
	$in_client ethtool -K eth0 rx on tx on sg on tso on gso on gro on >/dev/null 2>&1 || true
	capture
	raw smtp-big $server
	$nearest ethtool -K eth0 rx off tx off sg off tso off gso off gro off >/dev/null 2>&1 || true
	$in_client ethtool -K eth0 rx off tx off sg off tso off gso off gro off >/dev/null 2>&1 || true
}

case_postfix_tap_loss() {
	about="a mail of 60 kB of which the tap, not the server, missed packets: some of the body, one command, one reply"
	by=postfix clients="client.py"
	after=lose_packets
	start_postfix
	capture
	raw smtp-big $server
}

# lose_packets takes out of the capture: four packets of the first mail's body, the second MAIL, the reply to its RCPT.
lose_packets() {
	local frames octets
	frames="$(frames 'tcp.dstport == 25 && tcp.len > 1000' 5,7p) $(frames 'tcp.dstport == 25 && tcp.len > 1000' 20p)"
	frames="$frames $(frames 'smtp.req.command == "MAIL"' 2p) $(frames 'smtp.response.code == 250' 7p)"
	mv "$dir/$name.pcap" "$dir/whole.pcap"
	editcap -F pcap "$dir/whole.pcap" "$dir/$name.pcap" $frames
	octets() { tshark -r "$dir/whole.pcap" -Y "frame.number in {${frames// /,}} && $1" -T fields -e tcp.len 2>/dev/null | awk '{ n += $1 } END { print n + 0 }'; }
	frames=$(echo $frames)
	missing="{\"client\": $(octets 'tcp.dstport == 25'), \"server\": $(octets 'tcp.srcport == 25')}"
}

# frames FILTER LINES prints the numbers of the frames that match, of these only some, as sed counts them.
frames() { tshark -r "$dir/$name.pcap" -Y "$1" -T fields -e frame.number 2>/dev/null | sed -n "$2"; }

# --- Exim -------------------------------------------------------------------------------------------------------

case_exim_simple() {
	about="one mail with an attachment, and one by curl"
	by=exim clients="swaks curl"
	start_exim
	capture
	head -c 3000 /dev/zero | tr '\0' 'x' >"$dir/report.txt"
	say "${swaks[@]}" -s $server -f a@example.org -t alice@example.net,bob@example.net --h-Subject "With attachment" \
		--body $'Here it is.\n.\n..and more' --attach-name report.txt --attach-type text/plain --attach "@$dir/report.txt"
	attachment_mail carol >"$dir/mail.eml"
	say curl -sS "smtp://$server/client.example.org" --mail-from a@example.org --mail-rcpt carol@example.net -T "$dir/mail.eml"
}

case_exim_pipelining() {
	about="as postfix-pipelining; Exim refuses the session that did not wait for the greeting"
	by=exim clients="client.py"
	start_exim
	capture
	raw smtp-pipelining $server
	raw smtp-early $server
}

case_exim_bdat() {
	about="as postfix-bdat"
	by=exim clients="client.py"
	start_exim
	capture
	raw smtp-bdat $server
}

case_exim_from_postfix() {
	about="Postfix delivers to Exim: PIPELINING, DATA, one recipient refused"
	by=exim clients="postfix"
	start_exim
	on=$in_client
	start_postfix "defer_transports =" "virtual_mailbox_domains =" "relayhost = [$server]" "smtp_tls_security_level = none" "myhostname = client.example.org" "smtputf8_enable = no"
	capture
	attachment_mail alice >"$dir/mail.eml"
	$in_client sendmail -C "$dir/postfix/etc" -oi -f a@example.org alice@example.net nobody@example.net bob@example.net <"$dir/mail.eml"
	await "delivery" bash -c "grep -q 'to=<bob@.*status=sent' '$dir/postfix/log'"
}

case_exim_rejected() {
	about="as postfix-rejected, with Exim's words"
	by=exim clients="client.py swaks" size_limit=20000
	start_exim
	capture
	raw smtp-rejected $server
	raw smtp-too-big $server
	try "${swaks[@]}" -s $server -f a@example.org -t nobody@example.net
}

case_exim_extensions() {
	about="as postfix-extensions"
	by=exim clients="client.py"
	start_exim
	capture
	raw smtp-extensions $server
}

case_exim_auth() {
	about="PLAIN, LOGIN and CRAM-MD5 by Exim itself, DIGEST-MD5, SCRAM, XOAUTH2 and OAUTHBEARER by Exim with Dovecot: right, wrong, without initial response, cancelled"
	by=exim oracle="exim" clients="client.py" ports=587
	dovecot_mechanisms="digest-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer"
	exim_dovecot="DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER"
	start_dovecot
	start_exim
	capture
	raw smtp-auth $server 587 PLAIN LOGIN CRAM-MD5 $exim_dovecot
}

case_exim_auth_ntlm() {
	about="NTLM, right and wrong, by curl; PLAIN, LOGIN and CRAM-MD5 by swaks and curl"
	by=exim clients="curl swaks" ports=587
	start_exim
	capture
	attachment_mail alice >"$dir/mail.eml"
	local m
	for m in NTLM PLAIN LOGIN CRAM-MD5; do
		say curl -sS "smtp://$server:587/client.example.org" --mail-from bob@example.net --mail-rcpt x@elsewhere.example -T "$dir/mail.eml" --login-options AUTH=$m -u bob:canary-bob-71c0
		try curl -sS "smtp://$server:587/client.example.org" --mail-from bob@example.net --mail-rcpt x@elsewhere.example -T "$dir/mail.eml" --login-options AUTH=$m -u bob:canary-wrong-d41d
	done
	say "${swaks[@]}" -s $server -p 587 -a LOGIN -au alice -ap canary-alice-5e2f -f alice@example.net -t x@elsewhere.example
}

case_exim_starttls() {
	about="as postfix-starttls"
	by=exim clients="swaks curl client.py" ports="25 587" visible=until-tls
	start_exim
	capture
	say "${swaks[@]}" -s $server --tls --tls-sni $mx -f a@example.org -t alice@example.net --h-Subject "In TLS"
	attachment_mail bob >"$dir/mail.eml"
	say curl -sS --ssl-reqd -k "smtp://$server:587/client.example.org" -u alice:canary-alice-5e2f --mail-from alice@example.net --mail-rcpt bob@example.net -T "$dir/mail.eml"
	try python3 "$here/client.py" smtp-starttls-injection $server
	raw smtp-starttls-refused $server
}

case_exim_prdr() {
	about="Exim's PRDR: a reply for each recipient after the end of data"
	by=exim clients="client.py"
	start_exim
	capture
	raw smtp-prdr $server
}

case_exim_smuggling() {
	about="as postfix-smuggling"
	by=exim clients="client.py"
	start_exim
	capture
	raw smtp-smuggling $server
}

# --- OpenSMTPD --------------------------------------------------------------------------------------------------

case_opensmtpd_simple() {
	about="one mail with an attachment, and one by curl"
	by=opensmtpd clients="swaks curl"
	start_opensmtpd
	capture
	head -c 3000 /dev/zero | tr '\0' 'x' >"$dir/report.txt"
	say "${swaks[@]}" -s $server -f a@example.org -t alice@example.net,bob@example.net --h-Subject "With attachment" \
		--body $'Here it is.\n.\n..and more' --attach-name report.txt --attach-type text/plain --attach "@$dir/report.txt"
	attachment_mail carol >"$dir/mail.eml"
	say curl -sS "smtp://$server/client.example.org" --mail-from a@example.org --mail-rcpt carol@example.net -T "$dir/mail.eml"
}

case_opensmtpd_rejected() {
	about="unknown user, relaying, block list, size, wrong order and syntax, with OpenSMTPD's words"
	by=opensmtpd clients="client.py swaks" size_limit=20000
	start_opensmtpd
	capture
	raw smtp-rejected-late $server
	try "${swaks[@]}" -s $server -f a@example.org -t nobody@example.net
	raw smtp-errors $server
}

case_opensmtpd_auth() {
	about="AUTH in clear, which OpenSMTPD refuses; then STARTTLS, whose handshake fails: Debian's OpenSMTPD 6.8 cannot use its key with OpenSSL 3"
	by=opensmtpd clients="client.py swaks" ports=587 visible=until-tls
	start_opensmtpd
	capture
	raw smtp-auth-in-clear $server 587
	try "${swaks[@]}" -s $server -p 587 --tls -a PLAIN -au alice -ap canary-alice-5e2f -f alice@example.net -t x@elsewhere.example
}

case_opensmtpd_smuggling() {
	about="as postfix-smuggling; OpenSMTPD refuses what is sent behind an end of data in the same packet"
	by=opensmtpd clients="client.py"
	start_opensmtpd
	capture
	raw smtp-smuggling $server
}

case_opensmtpd_smuggling_paused() {
	about="the same forms, but the client waits behind each and goes on command by command where it is answered: OpenSMTPD is tolerant"
	by=opensmtpd clients="client.py"
	start_opensmtpd
	capture
	raw smtp-smuggling $server 25 paused
}

# --- Dovecot ----------------------------------------------------------------------------------------------------

case_dovecot_lmtp() {
	about="LMTP by hand: pipelined, three recipients of whom one has no room, one unknown; then with BDAT"
	by=dovecot oracle=dovecot-lmtp clients="client.py" protocol=lmtp ports=24
	start_dovecot
	capture
	raw lmtp $server
}

case_dovecot_pop3() {
	about="every command, right and wrong, then pipelined, then cut in mid-mail"
	by=dovecot clients="client.py" protocol=pop3 ports=110
	start_dovecot
	maildrop alice
	maildrop bob
	capture
	raw pop3-session $server
	maildrop alice
	raw pop3-pipelining $server
}

case_dovecot_pop3_clients() {
	about="fetchmail fetches and deletes; curl lists, fetches and asks for headers; wrong passwords"
	by=dovecot clients="fetchmail curl" protocol=pop3 ports=110
	start_dovecot
	maildrop alice
	maildrop bob
	capture
	fetchmail_rc alice canary-alice-5e2f "no keep fetchall"
	say env FETCHMAILHOME="$dir" fetchmail -f "$dir/fetchmailrc" -v
	fetchmail_rc alice canary-wrong-d41d "keep"
	try env FETCHMAILHOME="$dir" fetchmail -f "$dir/fetchmailrc" -v
	local curl=(curl -sS -u bob:canary-bob-71c0)
	say "${curl[@]}" "pop3://$server/"
	say "${curl[@]}" "pop3://$server/2"
	say "${curl[@]}" -X UIDL "pop3://$server/"
	say "${curl[@]}" -X "TOP 3 2" "pop3://$server/"
	try "${curl[@]}" -I -X "DELE 1" "pop3://$server/1" # curl does not expect a single line
	try curl -sS -u bob:canary-wrong-d41d "pop3://$server/"
}

fetchmail_rc() {
	printf 'poll %s proto pop3 timeout 10 auth password\n user %s password %s sslproto "" %s mda "cat >/dev/null"\n' $server "$1" "$2" "$3" >"$dir/fetchmailrc"
	chmod 600 "$dir/fetchmailrc"
}

case_dovecot_pop3_mpop() {
	about="mpop, which sends its commands without waiting for each reply, fetches and deletes; a wrong password"
	by=dovecot clients="mpop" protocol=pop3 ports=110
	start_dovecot
	maildrop alice
	capture
	local password
	for password in canary-alice-5e2f canary-wrong-d41d; do
		printf 'account default\nhost %s\nuser alice\npassword %s\nauth user\nkeep off\ntls off\npipelining on\ndelivery mbox %s\nuidls_file %s\n' \
			$server $password "$dir/mbox" "$dir/uidls" >"$dir/mpoprc"
		chmod 600 "$dir/mpoprc"
		try mpop -C "$dir/mpoprc"
	done
}

case_dovecot_apop() {
	about="APOP: right, wrong, unknown user (by hand), then curl and fetchmail"
	by=dovecot clients="client.py curl fetchmail" protocol=pop3 ports=110
	dovecot_mechanisms="plain apop"
	start_dovecot
	maildrop alice
	maildrop bob
	capture
	raw pop3-apop $server
	say curl -sS --login-options "AUTH=+APOP" -u alice:canary-alice-5e2f "pop3://$server/1"
	printf 'poll %s proto apop timeout 10\n user bob password canary-bob-71c0 sslproto "" keep mda "cat >/dev/null"\n' $server >"$dir/fetchmailrc"
	chmod 600 "$dir/fetchmailrc"
	say env FETCHMAILHOME="$dir" fetchmail -f "$dir/fetchmailrc" -v
}

case_dovecot_pop3_auth() {
	about="AUTH with each mechanism: right, wrong, without initial response, cancelled; then curl"
	by=dovecot clients="client.py curl" protocol=pop3 ports=110
	dovecot_mechanisms=${postfix_mechanisms,,}
	start_dovecot
	maildrop alice
	maildrop bob
	capture
	raw pop3-auth $server 110 $postfix_mechanisms
	local m
	for m in PLAIN LOGIN CRAM-MD5; do
		say curl -sS --login-options "AUTH=$m" -u bob:canary-bob-71c0 "pop3://$server/1"
	done
	say curl -sS --login-options AUTH=XOAUTH2 -u alice --oauth2-bearer canary-token-alice-93ab "pop3://$server/1"
}

case_dovecot_stls() {
	about="STLS: a maildrop read inside TLS by curl and by fetchmail"
	by=dovecot clients="curl fetchmail" protocol=pop3 ports=110 visible=until-tls
	start_dovecot
	maildrop alice
	maildrop bob
	capture
	say curl -sS --ssl-reqd -k -u alice:canary-alice-5e2f "pop3://$server/2"
	printf 'poll %s proto pop3 timeout 10\n user bob password canary-bob-71c0 sslproto "TLS1.2+" no sslcertck keep mda "cat >/dev/null"\n' $server >"$dir/fetchmailrc"
	chmod 600 "$dir/fetchmailrc"
	say env FETCHMAILHOME="$dir" fetchmail -f "$dir/fetchmailrc" -v
}

case_dovecot_pop3s() {
	about="implicit TLS on port 995"
	by=dovecot clients="curl" protocol=pop3 ports=995 visible=none
	start_dovecot
	maildrop alice
	capture
	say curl -sS -k -u alice:canary-alice-5e2f "pop3s://$server/1"
}

case_dovecot_pop3_ipv6() {
	about="one mail fetched over IPv6"
	by=dovecot clients="curl" protocol=pop3 ports=110
	start_dovecot
	maildrop alice
	capture
	say curl -sSg -u alice:canary-alice-5e2f "pop3://[$server6]/3"
}

# ---------------------------------------------------------------------------------------------------------------

run_case
