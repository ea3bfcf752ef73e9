package message

import (
	"bytes"
	"slices"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
)

// entity is what a header section says about the content that follows it.
type entity struct {
	record.Part
	encoding encoding
	boundary []byte // borrowed from the header
}

// entity reads the MIME fields. digest: the entity is part of a multipart/digest.
func (h *header) entity(digest bool) entity {
	e := entity{}
	e.Type = typeText
	if digest {
		e.Type = typeMessage
	}
	var name, filename, charset, boundary parameter
	if h.set[typeField] {
		kind, rest := cutValue(h.value(typeField))
		e.Type = mediaType(kind)
		eachParameter(rest, func(key, value []byte) {
			name.take("name", key, value)
			charset.take("charset", key, value)
			boundary.take("boundary", key, value)
		})
	}
	if h.set[dispositionField] {
		kind, rest := cutValue(h.value(dispositionField))
		e.Disposition = strings.ToLower(token(kind))
		eachParameter(rest, func(key, value []byte) { filename.take("filename", key, value) })
	}
	if e.Name = filename.text(); e.Name == "" {
		e.Name = name.text()
	}
	e.Charset = strings.ToLower(token([]byte(charset.text())))
	e.boundary = bytes.TrimRight(boundary.raw(), " \t")
	if isMultipart(e.Type) && len(e.boundary) == 0 { // it has no parts
		e.Type = typeText
	}
	e.encoding = transferEncoding(h.value(encodingField))
	return e
}

func transferEncoding(value []byte) encoding {
	value, _ = cutValue(value)
	switch strings.ToLower(token(value)) {
	case "base64":
		return inBase64
	case "quoted-printable":
		return inQuotedPrintable
	case "x-uuencode", "uuencode", "x-uue", "uue":
		return inUuencode
	}
	return unencoded
}

// mediaType returns the type, in lower case. One that is no type is text (RFC 2045 section 5.2), a multipart of no kind
// is mixed (RFC 2046 section 5.1.7).
func mediaType(value []byte) string {
	kind := strings.ToLower(token(joinSlash(value)))
	main, sub, ok := strings.Cut(kind, "/")
	switch {
	case !ok || main == "" || strings.Contains(sub, "/"):
		return typeText
	case sub == "" && main == "multipart":
		return "multipart/mixed"
	case sub == "":
		return typeText
	}
	return kind
}

func isMultipart(kind string) bool { return strings.HasPrefix(kind, "multipart/") }

// joinSlash removes white space around the slash of a type.
func joinSlash(value []byte) []byte {
	main, sub, ok := bytes.Cut(value, []byte("/"))
	if !ok || len(main) == len(bytes.TrimSpace(main)) && len(sub) == len(bytes.TrimSpace(sub)) {
		return value
	}
	return slices.Concat(bytes.TrimSpace(main), []byte("/"), bytes.TrimSpace(sub))
}

// token returns the first word of value: comments (RFC 822 section 3.4.3) and what else follows it are dropped.
func token(value []byte) string {
	value = bytes.TrimLeft(value, " \t\"")
	if n := bytes.IndexAny(value, " \t\"(;,"); n >= 0 {
		value = value[:n]
	}
	return valid(value, MaxToken)
}

// cutValue splits a field into its value and its parameters. The semicolon between the two may be missing.
func cutValue(value []byte) (first, rest []byte) {
	first, rest, _ = bytes.Cut(value, []byte(";"))
	if n := bytes.IndexByte(first, '='); n >= 0 {
		key := bytes.LastIndexAny(bytes.TrimRight(first[:n], " \t"), " \t") + 1
		first, rest = first[:key], value[key:]
	}
	return bytes.TrimSpace(first), rest
}

// eachParameter walks over the parameters of a field (RFC 2045 section 5.1), as broken as they may be: without quotes,
// without a closing quote, with semicolons too many.
func eachParameter(rest []byte, each func(key, value []byte)) {
	for {
		n := bytes.IndexAny(rest, "=;")
		if n < 0 {
			return
		}
		key, separator := bytes.TrimSpace(rest[:n]), rest[n]
		rest = rest[n+1:]
		if separator == ';' {
			continue // a word without a value
		}
		var value []byte
		value, rest = cutParameter(bytes.TrimLeft(rest, " \t"))
		each(key, value)
	}
}

// cutParameter takes one value off rest. Within quotes only \" and \\ are escapes: a backslash alone is most often part
// of a Windows path.
func cutParameter(rest []byte) (value, after []byte) {
	if len(rest) == 0 || rest[0] != '"' {
		value, after, _ = bytes.Cut(rest, []byte(";"))
		return bytes.TrimSpace(value), after
	}
	escaped := false
	for i := 1; i < len(rest); i++ {
		switch {
		case rest[i] == '\\' && i+1 < len(rest) && (rest[i+1] == '"' || rest[i+1] == '\\'):
			escaped = true
			i++
		case rest[i] == '"':
			value = rest[1:i]
			if escaped {
				value = unescape(value)
			}
			_, after, _ = bytes.Cut(rest[i+1:], []byte(";"))
			return value, after
		}
	}
	value, after, _ = bytes.Cut(rest[1:], []byte(";")) // the closing quote is missing
	return bytes.TrimSpace(value), after
}

func unescape(quoted []byte) []byte {
	out := make([]byte, 0, len(quoted))
	for i := 0; i < len(quoted); i++ {
		if quoted[i] == '\\' && i+1 < len(quoted) && (quoted[i+1] == '"' || quoted[i+1] == '\\') {
			i++
		}
		out = append(out, quoted[i])
	}
	return out
}
