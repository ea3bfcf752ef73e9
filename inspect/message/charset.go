package message

import (
	"bytes"
	"cmp"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"

	"github.com/mailwire/mailwire/inspect/record"
)

// aliases are names that mail programs give to charsets, and that the registries of x/text do not have. Where a charset has
// extensions, its decoder there knows them.
var aliases = map[string]string{
	"cp932": "windows-31j", "windows-932": "windows-31j", "x-ms-cp932": "windows-31j", "cswindows31j": "windows-31j",
	"eucjp": "euc-jp", "eucjp-ms": "euc-jp", "cp51932": "euc-jp",
	"iso-2022-jp-1": "iso-2022-jp", "iso-2022-jp-2": "iso-2022-jp", "iso-2022-jp-ms": "iso-2022-jp",
	"cp50220": "iso-2022-jp", "cp50221": "iso-2022-jp",
	"cp936": "gbk", "x-cp936": "gbk", "euc-cn": "gbk", "gb-2312": "gbk", "x-gb2312": "gbk",
	"cp949": "euc-kr", "ms949": "euc-kr", "x-windows-949": "euc-kr", "uhc": "euc-kr", "ks_c_5601": "euc-kr",
	"cp950": "big5", "ms950": "big5", "windows-950": "big5",
	"win-1251": "windows-1251", "win1251": "windows-1251", "ansi": "windows-1252", "cp874": "windows-874",
	"latin-1": "iso-8859-1", "8859-1": "iso-8859-1", "latin9": "iso-8859-15", "macroman": "macintosh",
	"utf_8": "utf-8", "utf8mb4": "utf-8", "utf-8-sig": "utf-8", "cp65001": "utf-8", "windows-65001": "utf-8",
}

// appendCharset appends octets, which are in the named charset, as UTF-8. It fails where nobody knows the charset and
// the octets are not UTF-8 either.
func appendCharset(dst []byte, name string, octets []byte) ([]byte, bool) {
	name = strings.ToLower(name)
	name = cmp.Or(aliases[name], name)
	switch name {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return append(dst, octets...), true
	}
	r, err := charset.Reader(name, bytes.NewReader(octets))
	if err != nil {
		if !utf8.Valid(octets) {
			return dst, false
		}
		return append(dst, octets...), true
	}
	var piece [512]byte
	for limit := len(dst) + 2*record.MaxText; len(dst) < limit; {
		n, err := r.Read(piece[:])
		if dst = append(dst, piece[:n]...); err != nil || n == 0 {
			break
		}
	}
	return dst, true
}
