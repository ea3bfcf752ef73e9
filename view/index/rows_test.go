package index

import (
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestOutcomeOf: only a wrong user or password is a failure, whatever else was refused.
func TestOutcomeOf(t *testing.T) {
	for _, c := range []struct {
		protocol, outcome string
		code              int
		enhanced, text    string
		want              string
	}{
		{record.SMTP, record.Success, 235, "2.7.0", "Authentication successful", record.Success},
		{record.SMTP, record.Unknown, 0, "", "", record.Unknown},
		{record.SMTP, record.Failure, 535, "5.7.8", "Error: authentication failed: authentication failure", record.Failure},
		{record.SMTP, record.Failure, 535, "5.7.139", "Authentication unsuccessful, SmtpClientAuthentication is disabled", record.Failure},
		{record.SMTP, record.Failure, 535, "", "Incorrect authentication data", record.Failure},
		{record.SMTP, record.Failure, 454, "4.7.0", "Temporary authentication failure: Connection lost to authentication server", "other"},
		{record.SMTP, record.Failure, 435, "", "Unable to authenticate at present", "other"},
		{record.SMTP, record.Failure, 501, "5.7.0", "Authentication aborted", "other"},
		{record.SMTP, record.Failure, 503, "5.5.1", "Error: authentication not enabled", "other"},
		{record.SMTP, record.Failure, 504, "5.5.4", "Unrecognized authentication type", "other"},
		{record.SMTP, record.Failure, 538, "5.7.11", "Encryption required for requested authentication mechanism", "other"},
		{record.POP3, record.Failure, 0, "", "[AUTH] Authentication failed.", record.Failure},
		{record.POP3, record.Failure, 0, "", "invalid user name or password", record.Failure},
		{record.POP3, record.Failure, 0, "", "no", record.Failure},
		{record.POP3, record.Failure, 0, "", "[SYS/TEMP] Temporary authentication failure.", "other"},
		{record.POP3, record.Failure, 0, "", "[IN-USE] Couldn't open INBOX: Mailbox is locked", "other"},
		{record.POP3, record.Failure, 0, "", "[LOGIN-DELAY] minimum time between mail checks violation", "other"},
	} {
		login := record.Login{Outcome: c.outcome, Code: c.code, Enhanced: c.enhanced, Text: c.text}
		if got := outcomeOf(c.protocol, &login); got != c.want {
			t.Errorf("%d %s %s is %s, not %s", c.code, c.enhanced, c.text, got, c.want)
		}
	}
}
