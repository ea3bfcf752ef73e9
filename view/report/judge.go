package report

// The thresholds of the judgements. They are low for a server with many users behind one address, and high for a
// password that somebody forgot: what they say is "looks like".
const (
	dictionaryUsers    = 5  // users that one address or network tried without success
	dictionaryFailures = 20 // failures of one address or network
	sprayUsers         = 10 // users tried within an hour ...
	sprayAddresses     = 5  // ... from that many addresses ...
	sprayPerUser       = 3  // ... with no more failures for each user than these
	soughtAddresses    = 5  // addresses from which one user was tried
	harvestRecipients  = 10 // recipients unknown to the server that one client tried
	pollsPerHour       = 30 // POP3 sessions of one client in an hour: one every two minutes
)

// judgeAddress says what the failures of one address or network look like. Account is the one that it got into last.
func judgeAddress(failures, users int64, gotIn bool, account string) string {
	attack := users >= dictionaryUsers || failures >= dictionaryFailures
	switch {
	case attack && gotIn:
		which := "that account"
		if account != "" {
			which = "the account " + shorten(account, cellWidth)
		}
		return "looks like a dictionary attack, and one login succeeded afterwards: check " + which + " now"
	case attack:
		return "looks like a dictionary attack: block the address"
	case gotIn:
		return "logged in afterwards: most likely a typing error"
	case failures >= sprayPerUser:
		return "an old password in a device, perhaps"
	}
	return ""
}

// judgeUser says what the failures of one user look like.
func judgeUser(addresses int64, gotIn bool) string {
	switch {
	case addresses >= soughtAddresses && gotIn:
		return "tried from many addresses, and logged in as well: make sure that the last login was the user's own"
	case addresses >= soughtAddresses:
		return "tried from many addresses: somebody wants this account"
	}
	return ""
}

func judgeHarvest(unknown int64) string {
	if unknown >= harvestRecipients {
		return "looks like harvesting: tries out addresses"
	}
	return ""
}

func judgePolls(most int64) string {
	if most >= pollsPerHour {
		return "polls too often: set a longer interval"
	}
	return ""
}
