#!/bin/bash
# install.sh: what record.sh and the tests with real peers need, on Debian 12.
#
#   testdata/pcap/install.sh          installs what is missing, then says where Exim and OpenSMTPD are
#   testdata/pcap/install.sh check    only says what is missing, and then ends with status 1
#
# Postfix, Dovecot and the clients come from apt. Debian lets only one mail transport agent be installed at a
# time, so Exim and OpenSMTPD are downloaded as packages and unpacked, not installed, below $MAILWIRE_PEERS
# (default /usr/local/lib/mailwire-peers):
#
#   $MAILWIRE_PEERS/exim4/usr/sbin/exim4
#   $MAILWIRE_PEERS/opensmtpd/usr/sbin/smtpd
#
# Nothing in /etc/postfix, /etc/dovecot and the like is changed and no daemon is started. It may be run again
# at any time; what is there already is left alone.
set -eu

peers=${MAILWIRE_PEERS:-/usr/local/lib/mailwire-peers}
export DEBIAN_FRONTEND=noninteractive

# What is installed as usual. libmariadb3 and libspf2-2 are for Exim, libevent for OpenSMTPD.
packages=(
	postfix dovecot-core dovecot-pop3d dovecot-lmtpd
	swaks curl fetchmail mpop msmtp mutt
	libnet-ssleay-perl libio-socket-ssl-perl libio-socket-inet6-perl libsasl2-modules
	tcpdump tshark iproute2 nftables ethtool openssl python3 ca-certificates procps adduser
	libmariadb3 libspf2-2 libgnutls-dane0 libidn12 libnsl2 libldap-2.5-0 libpq5 libperl5.36 libevent-2.1-7 libdb5.3 libsqlite3-0
)

say() { echo "install: $*"; }

# no_daemons keeps the packages from starting what they contain, as Debian's policy-rc.d interface has it.
no_daemons() {
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
		chmod 755 /usr/sbin/policy-rc.d
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	fi
}

# twice runs a command again, once, if it fails: mirrors hiccup, and the package lists may be old or not there.
twice() {
	"$@" && return
	say "again: $*"
	apt-get update -qq </dev/null || sleep 5
	"$@"
}

installed() { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'; }

# find_missing lists the packages that are not installed in $missing.
find_missing() {
	local p
	missing=()
	for p in "${packages[@]}"; do
		installed "$p" || missing+=("$p")
	done
}

install_packages() {
	find_missing
	if [ ${#missing[@]} -eq 0 ]; then
		say "all ${#packages[@]} packages are there"
		return
	fi
	say "apt-get install ${missing[*]}"
	# Only for packages that ask at their first installation.
	echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
	twice apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# unpack PACKAGE DIR FILE puts a package's files below $peers/DIR, unless FILE is there already.
unpack() {
	local package=$1 dir=$peers/$2 file=$peers/$2/$3 tmp
	if [ -x "$file" ]; then
		say "$package is in $dir"
		return
	fi
	say "unpacking $package to $dir"
	tmp=$(mktemp -d)
	chmod 755 "$tmp"
	(cd "$tmp" && twice apt-get download -qq "$package" </dev/null 2>/dev/null)
	mkdir -p "$dir"
	dpkg -x "$tmp/$package"_*.deb "$dir"
	rm -rf "$tmp"
	# Root starts them; nobody else needs to gain anything by running them.
	find "$dir" -type f -perm /6000 -exec chmod ug-s {} +
}

# system_user NAME makes the account that a daemon looks up by name, as its package would.
system_user() {
	id "$1" >/dev/null 2>&1 ||
		adduser --quiet --system --group --no-create-home --home /nonexistent --force-badname "$1" >/dev/null 2>&1
}

# check says what main would do something about.
check() {
	command -v dpkg-query >/dev/null || { say "this is no Debian"; exit 1; }
	find_missing
	[ -x "$peers/exim4/usr/sbin/exim4" ] || missing+=("$peers/exim4")
	[ -x "$peers/opensmtpd/usr/sbin/smtpd" ] || missing+=("$peers/opensmtpd")
	[ ${#missing[@]} -eq 0 ] || { say "missing: ${missing[*]}"; exit 1; }
}

main() {
	if [ "$(id -u)" != 0 ]; then
		say "must be run as root" >&2
		exit 1
	fi
	no_daemons
	install_packages

	unpack exim4-daemon-heavy exim4 usr/sbin/exim4
	system_user Debian-exim

	unpack opensmtpd opensmtpd usr/sbin/smtpd
	system_user opensmtpd
	system_user opensmtpq
	# Compiled in: the empty root of its workers, and its spool, which record.sh covers with one of its own.
	install -d -m 711 /var/lib/opensmtpd/empty /var/spool/smtpd

	say "exim4: $peers/exim4/usr/sbin/exim4"
	say "smtpd: $peers/opensmtpd/usr/sbin/smtpd"
}

if [ "${1:-}" = check ]; then check; else main; fi
