package message

import "github.com/mailwire/mailwire/inspect/record"

// record returns what people look for in a mail's header; nil: it has none of it.
func (h *header) record() *record.Header {
	any := h.received > 0
	for f := dateField; f < receivedField; f++ {
		any = any || h.set[f]
	}
	if !any {
		return nil
	}
	agent := userAgentField
	if !h.set[agent] {
		agent = mailerField
	}
	return &record.Header{
		Date:      clean(h.value(dateField)),
		From:      addresses(h.value(fromField)),
		To:        addresses(h.value(toField)),
		Cc:        addresses(h.value(ccField)),
		ReplyTo:   addresses(h.value(replyToField)),
		Subject:   decodeText(h.value(subjectField)),
		MessageID: clean(h.value(messageIDField)),
		InReplyTo: clean(h.value(inReplyToField)),
		UserAgent: decodeText(h.value(agent)),
		Received:  h.received,
	}
}
