//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	password = "canary-alice-5e2f"
	mailName = "mx.example.net" // that the servers' certificates are for
)

// servers are Postfix and Dovecot of Debian, on loopback ports of their own, with configuration and spools in a temporary
// directory. Their processes are in a namespace that ends with the test, however it ends.
type servers struct {
	t   *testing.T
	dir string
	ca  *authority
	at  map[string]string // by the name of a service: HOST:PORT
}

// startServers starts what is named: postfix, dovecot. It skips the test where that cannot be.
func startServers(t *testing.T, names ...string) *servers {
	t.Helper()
	needRoot(t)
	s := &servers{t: t, at: map[string]string{}}
	var err error
	if s.dir, err = os.MkdirTemp("", "mailwire-servers."); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.dir) })
	if err := os.Chmod(s.dir, 0o755); err != nil { // each daemon reads as a user of its own
		t.Fatal(err)
	}
	s.ca = newAuthority(t, s.dir, "ca")
	s.ca.sign("good", mailName, time.Now().Add(time.Hour))
	s.ca.sign("expired", mailName, time.Now().Add(-time.Hour))
	newAuthority(t, s.dir, "stranger").sign("selfmade", mailName, time.Now().Add(time.Hour))
	s.startDovecot() // Postfix asks it about passwords
	if slices.Contains(names, "postfix") {
		s.startPostfix()
	}
	return s
}

// in are the same servers for a subtest.
func (s *servers) in(t *testing.T) *servers {
	other := *s
	other.t = t
	return &other
}

// needRoot skips what starts servers where that cannot be.
func needRoot(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts mail servers, which -short leaves out")
	}
	if os.Getuid() != 0 {
		t.Skip("starts mail servers, which needs root")
	}
	if out, err := exec.Command("unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("no namespaces for mail servers: %v %s", err, out)
	}
}

// need skips a test for which a program of a Debian package is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed (testdata/pcap/install.sh)", p)
		}
	}
}

// service gives a service a port.
func (s *servers) service(name string) string {
	s.at[name] = freePort(s.t)
	return s.at[name]
}

// freePort returns an address of loopback that nobody listens at.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("no loopback interface for servers:", err)
	}
	defer l.Close()
	return l.Addr().String()
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// daemon runs a program until the test ends, in namespaces that end with it: with the shell, to be exact, since who
// changes what it may do does not die with its parent any more (prctl(2), PR_SET_PDEATHSIG).
func (s *servers) daemon(name string, args ...string) {
	s.t.Helper()
	cmd := underKnownName(context.Background(), "unshare", append([]string{
		"--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", `"$@"; exit $?`, "-", name,
	}, args...)...)
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, over := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death of the thread that has started it is that of its parent
		started <- cmd.Start()
		<-over
	}()
	if err := <-started; err != nil {
		close(over)
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		close(over)
		if s.t.Failed() && out.String() != "" {
			s.t.Logf("%s: %s", name, out)
		}
	})
}

func (s *servers) awaitService(name string) {
	s.t.Helper()
	await(s.t, name, func() bool { return listening(s.t, s.at[name]) })
}

// listening says whether somebody listens at an address of IPv4, without disturbing him.
func listening(t *testing.T, address string) bool {
	t.Helper()
	sockets, err := os.ReadFile("/proc/thread-self/net/tcp") // not the first thread's, which a test may have left in a network of its own
	if err != nil {
		t.Fatal(err)
	}
	port, _ := strconv.Atoi(portOf(address))
	return strings.Contains(string(sockets), fmt.Sprintf(":%04X 00000000:0000 0A ", port))
}

func (s *servers) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return path
}

// own gives a directory, made if need be, to a user.
func (s *servers) own(dir, name string) {
	s.t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		s.t.Skipf("there is no user %s (testdata/pcap/install.sh)", name)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// startPostfix keeps the mail that it takes in its queue.
func (s *servers) startPostfix() {
	s.t.Helper()
	need(s.t, "postfix", "postcat")
	etc := filepath.Join(s.dir, "postfix/etc")
	s.own(filepath.Join(s.dir, "postfix/data"), "postfix")
	if err := os.MkdirAll(filepath.Join(s.dir, "postfix/queue"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.write("postfix/etc/main.cf", fmt.Sprintf(`
compatibility_level = 3.6
queue_directory = %[1]s/postfix/queue
data_directory = %[1]s/postfix/data
maillog_file = %[1]s/postfix/log
maillog_file_prefixes = %[1]s
myhostname = mx.example.net
mydestination =
mynetworks =
inet_interfaces = all
smtpd_peername_lookup = no
virtual_mailbox_domains = example.net
local_recipient_maps =
defer_transports = smtp, virtual
smtpd_client_port_logging = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_error_sleep_time = 0
smtpd_timeout = 20
smtpd_sasl_type = dovecot
smtpd_sasl_path = %[1]s/dovecot/auth
smtpd_sasl_security_options =
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = %[1]s/good.pem
smtpd_tls_key_file = %[1]s/good.key
smtpd_tls_loglevel = 1
`, s.dir))
	master := ""
	for _, service := range []struct{ name, options string }{
		{"smtp", "-o smtpd_sasl_auth_enable=yes"},
		{"smtps", "-o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes"},
		{"smtp-expired", "-o smtpd_tls_cert_file=$D/expired.pem -o smtpd_tls_key_file=$D/expired.key"},
		{"smtp-selfmade", "-o smtpd_tls_cert_file=$D/selfmade.pem -o smtpd_tls_key_file=$D/selfmade.key"},
		{"smtps-selfmade", "-o smtpd_tls_wrappermode=yes -o smtpd_tls_cert_file=$D/selfmade.pem -o smtpd_tls_key_file=$D/selfmade.key"},
		{"smtp-haproxy", "-o smtpd_upstream_proxy_protocol=haproxy"},
		{"smtps-haproxy", "-o smtpd_upstream_proxy_protocol=haproxy -o smtpd_tls_wrappermode=yes"},
	} {
		master += s.service(service.name) + " inet n - n - - smtpd " + strings.ReplaceAll(service.options, "$D", s.dir) + "\n"
	}
	for line := range strings.Lines(`
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
showq unix n - n - - showq
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`) {
		master += line
	}
	s.write("postfix/etc/master.cf", master)
	s.daemon("postfix", "-c", etc, "start-fg")
	s.awaitService("smtp")
}

// startDovecot is POP3, and knows the passwords.
func (s *servers) startDovecot() {
	s.t.Helper()
	need(s.t, "dovecot")
	s.write("dovecot/users", fmt.Sprintf("alice:{PLAIN}%s:8:8::%s/mail/alice::\n", password, s.dir))
	s.own(filepath.Join(s.dir, "mail"), "mail")
	listeners := ""
	for _, l := range []struct{ name, options string }{
		{"pop3", ""}, {"pop3s", "ssl = yes"}, {"pop3-haproxy", "haproxy = yes"}, {"pop3s-haproxy", "haproxy = yes\nssl = yes"},
	} {
		listeners += fmt.Sprintf("inet_listener %s {\nport = %s\n%s\n}\n", l.name, portOf(s.service(l.name)), l.options)
	}
	s.write("dovecot/conf", fmt.Sprintf(`
base_dir = %[1]s/dovecot/run
state_dir = %[1]s/dovecot/state
log_path = %[1]s/dovecot/log
protocols = pop3
listen = 127.0.0.1
haproxy_trusted_networks = 127.0.0.0/8
ssl = yes
ssl_cert = <%[1]s/good.pem
ssl_key = <%[1]s/good.key
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
first_valid_uid = 8
first_valid_gid = 8
auth_mechanisms = plain login
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service auth {
  unix_listener %[1]s/dovecot/auth {
    mode = 0666
  }
}
service pop3-login {
%[2]s
}
passdb {
  driver = passwd-file
  args = %[1]s/dovecot/users
}
userdb {
  driver = passwd-file
  args = %[1]s/dovecot/users
}
`, s.dir, listeners))
	s.daemon("dovecot", "-F", "-c", filepath.Join(s.dir, "dovecot/conf"))
	s.awaitService("pop3")
	await(s.t, "Dovecot", func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "dovecot/auth"))
		return err == nil
	})
}

// maildrop puts mails into alice's maildrop.
func (s *servers) maildrop(mails ...string) {
	s.t.Helper()
	for i, mail := range mails {
		s.write(fmt.Sprintf("mail/alice/Maildir/new/179531304%d.%d.mx", i, i), strings.ReplaceAll(mail, "\r\n", "\n"))
	}
	s.own(filepath.Join(s.dir, "mail"), "mail")
}

// log is what a server has logged.
func (s *servers) log(server string) string {
	text, err := os.ReadFile(filepath.Join(s.dir, server, "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// queued is what Postfix has queued as id: the envelope, and the octets that it got.
func (s *servers) queued(id string) (from string, to []string, octets int64, digest string) {
	s.t.Helper()
	etc := filepath.Join(s.dir, "postfix/etc")
	envelope, err := exec.Command("postcat", "-c", etc, "-eq", id).Output()
	if err != nil {
		s.t.Fatalf("Postfix has no mail %s: %v", id, err)
	}
	for line := range strings.Lines(string(envelope)) {
		if address, ok := strings.CutPrefix(line, "sender: "); ok {
			from = strings.TrimSpace(address)
		}
		if address, ok := strings.CutPrefix(line, "recipient: "); ok {
			to = append(to, strings.TrimSpace(address))
		}
	}
	mail, err := exec.Command("postcat", "-c", etc, "-bhq", id).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	mail = bytes.ReplaceAll(mail, []byte("\n"), []byte("\r\n"))
	mail = regexp.MustCompile(`\A(?:Received|X-Original-To):[^\r]*\r\n(?:[ \t][^\r]*\r\n)*`).ReplaceAll(mail, nil)
	sum := sha256.Sum256(mail)
	return from, to, int64(len(mail)), hex.EncodeToString(sum[:])
}

// queueLength is how many mails Postfix has.
func (s *servers) queueLength() int {
	return strings.Count(s.log("postfix"), ": message-id=")
}
