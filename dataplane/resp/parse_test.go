package resp

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var testLimits = limits{args: 8, bulk: 64, query: 300}

// parseAll feeds raw in pieces of the given lengths, again and again, and shows
// what came out. It checks what every caller relies on.
func parseAll(t testing.TB, raw []byte, pieces []byte) (shown []string) {
	ps := parser{lim: testLimits}
	buf := make([]byte, 0, len(raw)) // a buffer of its own: inline words are decoded in place
	r := 0
	for fed, turn := 0, 0; fed < len(raw); turn++ {
		n := len(raw) - fed
		if len(pieces) > 0 {
			n = min(n, 1+int(pieces[turn%len(pieces)]))
		}
		buf = append(buf, raw[fed:fed+n]...)
		fed += n
		for {
			used, what := ps.next(buf[r:])
			if used < 0 || used > len(buf)-r {
				t.Fatalf("used %d of %d", used, len(buf)-r)
			}
			if what == parseBroken {
				return append(shown, "broken: "+ps.broken)
			}
			switch what {
			case parseCommand:
				if len(ps.args) == 0 || len(ps.args) > testLimits.args {
					t.Fatalf("command of %d arguments", len(ps.args))
				}
				s := ""
				for _, a := range ps.args {
					if int(a.off)+int(a.n) > used {
						t.Fatal("argument beyond the command")
					}
					s += fmt.Sprintf("%q ", buf[r+int(a.off):r+int(a.off)+int(a.n)])
				}
				shown = append(shown, s)
			case parseOver:
				shown = append(shown, fmt.Sprintf("over %d: %d", ps.over, ps.overSize))
			}
			r += used
			if what == parseMore {
				break
			}
			if !ps.idle() || used == 0 {
				t.Fatalf("not idle after a whole command, used %d", used)
			}
		}
		if len(pieces) > 0 && len(buf)-r > testLimits.query+headerMax+256 { // a piece has at most 256
			t.Fatalf("%d bytes of one command are held, limit %d", len(buf)-r, testLimits.query)
		}
	}
	return shown
}

func FuzzParser(f *testing.F) {
	for _, s := range []string{
		cmd("SET", "a", "1") + cmd("GET", "a"), "PING\r\nSET a \"b c\"\r\n", "*0\r\n*-1\r\n\r\n",
		cmd("SET", "a", strings.Repeat("x", 65)) + cmd("PING"), "*9\r\n" + strings.Repeat("$1\r\na\r\n", 9) + "PING\n",
		"*8\r\n" + strings.Repeat("$60\r\n"+strings.Repeat("y", 60)+"\r\n", 8) + cmd("PING"),
		"*1\r\n$4\r\nPINGxx", "*x\r\n", "'a\\'b' \"\\x4", "$5\r\nhello\r\n", "*1\r\n$536870912\r\nabc",
	} {
		f.Add([]byte(s), []byte{0, 3, 100})
	}
	f.Fuzz(func(t *testing.T, raw, pieces []byte) {
		whole := parseAll(t, raw, nil)
		cut := parseAll(t, raw, pieces)
		each := parseAll(t, raw, []byte{0})
		// However the bytes are cut, the same commands come out. (A line too
		// long is noticed earlier or later, never not.)
		if !slices.Equal(whole, each) || !slices.Equal(whole, cut) {
			t.Fatalf("%q\nwhole %q\n  cut %q\n each %q", raw, whole, cut, each)
		}
	})
}

func TestParser(t *testing.T) {
	for _, x := range []struct {
		raw  string
		want []string
	}{
		{cmd("SET", "a", "") + "GET  a\n", []string{`"SET" "a" "" `, `"GET" "a" `}},
		{cmd("SET", "a", strings.Repeat("x", 65)) + cmd("PING"), []string{"over 2: 65", `"PING" `}},
		{"*9\r\n" + strings.Repeat("$1\r\na\r\n", 9) + cmd("PING"), []string{"over 1: 9", `"PING" `}},
		{"a b c d e f g h i\n" + cmd("PING"), []string{"over 1: 9", `"PING" `}},
		{"*8\r\n" + strings.Repeat("$60\r\n"+strings.Repeat("y", 60)+"\r\n", 8) + cmd("PING"), []string{"over 3: 339", `"PING" `}},
		{"*2\r\n$-1\r\n", []string{"broken: invalid bulk length"}},
		{"\"\\x41\\xzz\" '\\n'\n", []string{`"Axzz" "\\n" `}},
		{strings.Repeat("x", 301), []string{"broken: too big inline request"}},
	} {
		for _, pieces := range [][]byte{nil, {0}, {1}, {6}} {
			if got := parseAll(t, []byte(x.raw), pieces); !slices.Equal(got, x.want) {
				t.Errorf("%q by %v\n got %q\nwant %q", x.raw, pieces, got, x.want)
			}
		}
	}
}

// Work stays proportional to the bytes, however they are cut: no rescan of a
// long command with every byte of it.
func TestParserDoesNotRescan(t *testing.T) {
	raw := []byte("*10000\r\n" + strings.Repeat("$1\r\na\r\n", 10000))
	ps := parser{lim: limits{args: argsMax, bulk: bulkBytesMax, query: queryBytesDefault}}
	for n := range raw {
		if _, what := ps.next(raw[:n]); what != parseMore {
			t.Fatalf("byte %d: %d", n, what)
		}
		if n > 100 && ps.pos < n-headerMax {
			t.Fatalf("byte %d: stands at %d", n, ps.pos)
		}
	}
	line := bytes.Repeat([]byte("x"), 50_000)
	ps.reset()
	for n := range line {
		ps.next(line[:n])
		if ps.pos != n {
			t.Fatalf("inline: stands at %d of %d", ps.pos, n)
		}
	}
}
