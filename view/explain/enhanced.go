package explain

import "strings"

// meaning looks up an enhanced status code, whatever its class.
func meaning(enhanced string) string {
	class, rest, _ := strings.Cut(enhanced, ".")
	if s := registry[rest]; s != "" && (class == "4" || class == "5") {
		return s
	}
	subject, _, _ := strings.Cut(rest, ".")
	if class != "4" && class != "5" {
		return ""
	}
	return subjects[subject]
}

// subjects is what the middle number alone says, for codes that a server made up.
var subjects = map[string]string{
	"1": "something is wrong with an address",
	"2": "something is wrong with the mailbox",
	"3": "something is wrong with the receiving mail system",
	"4": "something is wrong with the network or the routing",
	"5": "the client said something that the server did not expect",
	"6": "something is wrong with the mail's content or format",
	"7": "refused for security or by the server's own policy",
}

// registry is the IANA registry of enhanced status codes (RFC 5248) without their class: RFC 3463, 3886, 4468, 4865,
// 4954, 5321, 6531, 6710, 7293, 7372, 7505, 8616, 8689.
var registry = map[string]string{
	"0.0": "refused without a reason that has a code",

	"1.0":  "something is wrong with an address",
	"1.1":  "there is no such user",
	"1.2":  "the recipient's domain does not exist or cannot take mail: look at its MX record",
	"1.3":  "the recipient's address is not written correctly",
	"1.4":  "the recipient's address means more than one mailbox",
	"1.5":  "the recipient's address is valid",
	"1.6":  "the recipient has moved and left no new address",
	"1.7":  "the sender's address is not written correctly",
	"1.8":  "the sender's domain does not exist or cannot take mail",
	"1.9":  "passed on to a system that reports no delivery",
	"1.10": "the recipient's domain says that it takes no mail (null MX)",

	"2.0": "something is wrong with the mailbox",
	"2.1": "the mailbox is disabled, or takes no mail now",
	"2.2": "the mailbox is full",
	"2.3": "the mail is bigger than this mailbox takes",
	"2.4": "the mailing list cannot be expanded",

	"3.0": "something is wrong with the receiving mail system",
	"3.1": "the mail system's storage is full",
	"3.2": "the mail system takes no mail now",
	"3.3": "the mail system lacks a feature that this mail needs",
	"3.4": "the mail is bigger than the mail system takes",
	"3.5": "the mail system is not set up correctly",
	"3.6": "the mail was taken with another priority",

	"4.0": "something is wrong with the network or the routing",
	"4.1": "the next host did not answer",
	"4.2": "the connection was lost or timed out",
	"4.3": "a name server or directory did not answer",
	"4.4": "there is no route to the recipient: look at MX records and transport tables",
	"4.5": "the mail system is congested",
	"4.6": "the mail goes in a circle: two systems each send it to the other",
	"4.7": "the mail was not delivered in time and was given up",

	"5.0": "the client said something that the server did not expect",
	"5.1": "the command is unknown, or not possible at this point",
	"5.2": "the command is not written correctly",
	"5.3": "too many recipients: the client must send the rest in another mail",
	"5.4": "a parameter of the command is wrong, or the server does not know it",
	"5.5": "client and server speak versions that do not fit",
	"5.6": "a line of the login is too long",

	"6.0":  "something is wrong with the mail's content or format",
	"6.1":  "the recipient's system does not take this type of content",
	"6.2":  "the content would have to be converted, which is forbidden",
	"6.3":  "the content would have to be converted, which the server cannot do",
	"6.4":  "the content was converted with loss",
	"6.5":  "the content could not be converted",
	"6.6":  "the content that the mail refers to is not there",
	"6.7":  "an address is not ASCII, and the server does not take that here",
	"6.8":  "the reply would have to be UTF-8, which the client did not ask for",
	"6.9":  "the mail's header is UTF-8, which the next server does not take",
	"6.10": "the reply would have to be UTF-8, which the client did not ask for",

	"7.0":  "refused for security or by policy; the text may say why",
	"7.1":  "refused by the server's own policy; the text may say why",
	"7.2":  "the sender may not write to this mailing list",
	"7.3":  "the mail would have to be converted between security systems",
	"7.4":  "the server does not have the security feature that was asked for, as a way to log in",
	"7.5":  "signing or encryption failed",
	"7.6":  "an algorithm of the signature or encryption is not supported",
	"7.7":  "the mail was changed on its way",
	"7.8":  "wrong user or password",
	"7.9":  "this way to log in is too weak for the account",
	"7.10": "TLS is needed first",
	"7.11": "this way to log in needs TLS",
	"7.12": "the user must log in once in another way, so that the new password can be stored",
	"7.13": "the user's account is disabled",
	"7.14": "the servers have no agreement to trust each other",
	"7.15": "the mail's priority is too low now",
	"7.16": "the mail is too big for its priority",
	"7.17": "the mailbox has another owner than the sender meant",
	"7.18": "the domain has another owner than the sender meant",
	"7.19": "whether the owner is still the same cannot be found out",
	"7.20": "no DKIM signature is valid",
	"7.21": "no DKIM signature is of a kind that the server accepts",
	"7.22": "no valid DKIM signature is of the author's domain",
	"7.23": "SPF: the client may not send for the sender's domain",
	"7.24": "SPF: the sender domain's record could not be evaluated",
	"7.25": "the client's address has no matching reverse DNS",
	"7.26": "neither SPF nor DKIM proves where the mail comes from",
	"7.27": "the sender's domain says that it takes no mail (null MX)",
	"7.28": "too much mail in a short time",
	"7.29": "the ARC chain of the mail is not valid",
	"7.30": "the mail demands TLS on its whole way, which the next server does not offer",
}

// basic is what a code says on its own (RFC 5321 4.2.3, RFC 4954, RFC 7504).
func basic(code int) string {
	switch code {
	case 421:
		return "the service is not available and the connection is closed"
	case 432:
		return "the user's password must be changed over to the new way to log in"
	case 450:
		return "the mailbox cannot take mail now: the client should try again"
	case 451:
		return "an error in the server: the client should try again"
	case 452:
		return "the server has too little room now, or too many recipients at once"
	case 454:
		return "TLS or logins are not possible now"
	case 455:
		return "the server cannot do what a parameter asks for now"
	case 500:
		return "the command is unknown, or the line too long"
	case 501:
		return "the command's argument is not written correctly"
	case 502:
		return "the server does not have this command"
	case 503:
		return "the command is out of order: another one must come first"
	case 504:
		return "the server does not take this argument"
	case 521, 556:
		return "the host or domain takes no mail at all"
	case 534:
		return "this way to log in is too weak for the account"
	case 550:
		return "refused: there is no such mailbox, or the server's policy forbids it"
	case 551:
		return "the user is not of this server"
	case 552:
		return "too big, or the mailbox is full"
	case 553:
		return "the address is not allowed or not written correctly"
	case 554:
		return "refused for good; the text may say why"
	case 555:
		return "the server does not know a parameter of MAIL or RCPT"
	}
	switch code / 100 {
	case 4:
		return "refused for now: the client should try again"
	case 5:
		return "refused for good: trying again does not help"
	}
	return ""
}
