package resp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"healkv/dataplane"
)

// Replies that are the same every time. A queue entry names them by index.
type literal uint8

const (
	litOK literal = iota + 1
	litPong
	litCount
)

var literals = [litCount]string{
	litOK:   "+OK\r\n",
	litPong: "+PONG\r\n",
}

func appendInt(out []byte, n int64) []byte {
	out = append(out, ':')
	out = strconv.AppendInt(out, n, 10)
	return append(out, '\r', '\n')
}

func appendHead(out []byte, kind byte, n int) []byte {
	out = append(out, kind)
	out = strconv.AppendInt(out, int64(n), 10)
	return append(out, '\r', '\n')
}

func appendBulk(out, b []byte) []byte {
	out = appendHead(out, '$', len(b))
	out = append(out, b...)
	return append(out, '\r', '\n')
}

func appendBulkString(out []byte, s string) []byte {
	out = appendHead(out, '$', len(s))
	out = append(out, s...)
	return append(out, '\r', '\n')
}

func appendArray(out []byte, n int) []byte { return appendHead(out, '*', n) }

// appendMap begins a map of n pairs: in RESP2 an array of twice as many.
func appendMap(out []byte, proto, n int) []byte {
	if proto >= 3 {
		return appendHead(out, '%', n)
	}
	return appendArray(out, 2*n)
}

func appendNull(out []byte, proto int) []byte {
	if proto >= 3 {
		return append(out, "_\r\n"...)
	}
	return append(out, "$-1\r\n"...)
}

// appendError writes code and text as one error line.
func appendError(out []byte, code, text string) []byte {
	out = append(out, '-')
	out = append(out, code...)
	out = append(out, ' ')
	out = append(out, oneLine(text)...)
	return append(out, '\r', '\n')
}

// opErrors gives each outcome of an operation its code. The codes are the
// promise to clients: TRYAGAIN and OOM and ERR mean certainly not applied
// (clients may repeat after TRYAGAIN on their own, and go-redis does), UNKNOWN
// means it may have been.
var opErrors = [...]struct {
	err  error
	code string
	line string // the whole reply
}{
	{err: dataplane.ErrTryAgain, code: "TRYAGAIN"},
	{err: dataplane.ErrOverload, code: "TRYAGAIN"},
	{err: dataplane.ErrDeadline, code: "TRYAGAIN"},
	{err: dataplane.ErrClosed, code: "TRYAGAIN"},
	{err: dataplane.ErrPoolFailed, code: "TRYAGAIN"},
	{err: dataplane.ErrDamaged, code: "TRYAGAIN"}, // a read; another node has it
	{err: dataplane.ErrNoRoom, code: "OOM"},
	{err: dataplane.ErrUnknown, code: "UNKNOWN"},
	{err: dataplane.ErrKeySize, code: "ERR"},
	{err: dataplane.ErrValueSize, code: "ERR"},
	{err: dataplane.ErrScope, code: "ERR"},
}

func init() {
	for i := range opErrors {
		e := &opErrors[i]
		e.line = string(appendError(nil, e.code, errText(e.err)))
	}
}

func errText(err error) string { return strings.TrimPrefix(err.Error(), "healkv: ") }

// appendOpError writes the reply for a failed operation. The plain sentinels
// cost no allocation: under overload they are the common answer.
func appendOpError(out []byte, err error) []byte {
	for i := range opErrors {
		if err == opErrors[i].err {
			return append(out, opErrors[i].line...)
		}
	}
	for i := range opErrors {
		if errors.Is(err, opErrors[i].err) {
			return appendError(out, opErrors[i].code, errText(err))
		}
	}
	// An error nobody listed makes no promise, so it must not claim that
	// nothing was applied.
	return appendError(out, "UNKNOWN", errText(err))
}

// notApplied reports whether err promises that a write had no effect.
func notApplied(err error) bool {
	for i := range opErrors {
		if opErrors[i].code != "UNKNOWN" && errors.Is(err, opErrors[i].err) {
			return true
		}
	}
	return false
}

// appendPartial is the answer to a write of several keys of which some failed
// and others may have been applied: no promise for the command as a whole.
func appendPartial(out []byte, name string, done, total int, first error) []byte {
	return appendError(out, "UNKNOWN", fmt.Sprintf(
		"%s applied in part: %d of %d keys are done; the first failure: %s", name, done, total, errText(first)))
}

// oneLine makes s fit an error line, whatever it came from.
func oneLine(s string) string {
	if len(s) > 512 {
		s = s[:512]
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return printable([]byte(s))
		}
	}
	return s
}

// printable shows the first bytes of b with anything odd replaced.
func printable(b []byte) string {
	const shown = 512
	s := make([]byte, 0, min(len(b), shown))
	for _, c := range b[:min(len(b), shown)] {
		if c < ' ' || c > '~' {
			c = '?'
		}
		s = append(s, c)
	}
	return string(s)
}
