package main

import (
	"regexp"
	"strings"
	"unicode"
)

// secrets are what an API key and a JWT look like.
var secrets = regexp.MustCompile(`rvk_[!-~]+|eyJ[\w-]+\.[\w-]+(\.[\w-]*)?`)

// redact takes out what may be a key or a token. A secret gets into an error
// when it is given in the wrong place, and errors get into logs.
func redact(s string) string { return secrets.ReplaceAllString(s, "(a secret, not shown)") }

// printable takes out what would move the cursor or turn the line around. The
// hub refuses control characters in what it stores, but whatever answers at
// the address may not be a hub.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}
