package resp

import "bytes"

// span is one argument: where it stands relative to the first byte of its
// command. Offsets, not slices, because the read buffer may move while the
// command is being executed.
type span struct{ off, n uint32 }

// parsed says what next found.
type parsed uint8

const (
	parseMore    parsed = iota + 1 // the command is not whole yet
	parseCommand                   // args hold a whole command
	parseEmpty                     // a whole request without a command in it
	parseOver                      // a whole command, over a limit, skipped; over says which
	parseBroken                    // not the protocol; broken says why
)

// overLimit is why a command was skipped.
type overLimit uint8

const (
	overArgs overLimit = iota + 1
	overBulk
	overQuery
)

type limits struct {
	args  int // arguments of a command
	bulk  int // bytes of an argument
	query int // bytes of a command, as sent
}

// parser splits input into commands. It does no I/O and keeps no bytes: the
// caller passes the unread input again, longer by what came, and drops what
// next says is used. Work is proportional to the bytes that came, however
// they are cut.
type parser struct {
	lim  limits
	args []span

	state uint8
	pos   int // of buf, looked at; always within the current command
	left  int // bulks still to come
	bulk  int // bytes of the current one; while skipping, what is left of it with its line end

	over     overLimit // not 0: the current command is being skipped
	overSize int       // arguments or bytes, as over says
	broken   string
}

const (
	stStart uint8 = iota
	stHead        // at the "$" of a bulk
	stBulk        // in a bulk
)

// idle reports that no command is half read.
func (p *parser) idle() bool { return p.state == stStart && p.pos == 0 }

// reset forgets a half-read command.
func (p *parser) reset() {
	p.state, p.pos, p.left, p.bulk, p.over = stStart, 0, 0, 0, 0
	p.args = p.args[:0]
}

// next looks for the next command in buf, which begins where the last used
// byte ended. After parseMore used may be above 0 too: those bytes belong to a
// command that is skipped. Spans in args are relative to buf[0] of this call
// and hold until the next one.
func (p *parser) next(buf []byte) (used int, what parsed) {
	for {
		switch p.state {
		case stStart:
			if len(buf) == 0 {
				return 0, parseMore
			}
			if buf[0] != '*' {
				return p.inline(buf)
			}
			n, width, ok := header(buf)
			switch {
			case !ok:
				return p.fail("invalid multibulk length")
			case width == 0:
				return 0, parseMore
			case n <= 0:
				return width, parseEmpty
			case n > argsMaxHard:
				return p.fail("invalid multibulk length")
			}
			p.args = p.args[:0]
			p.left, p.pos, p.state, p.over = n, width, stHead, 0
			if n > p.lim.args {
				p.over, p.overSize = overArgs, n
			}

		case stHead:
			if p.left == 0 {
				return p.whole()
			}
			if p.pos == len(buf) {
				return p.more()
			}
			if buf[p.pos] != '$' {
				return p.fail("expected '$', got " + printable(buf[p.pos:p.pos+1]))
			}
			n, width, ok := header(buf[p.pos:])
			switch {
			case !ok || n < 0 || n > bulkBytesHard:
				return p.fail("invalid bulk length")
			case width == 0:
				return p.more()
			}
			p.pos += width
			p.bulk, p.state = n, stBulk
			if p.over == 0 && n > p.lim.bulk {
				p.over, p.overSize = overBulk, n
			}
			if p.over == 0 && p.pos+n+2 > p.lim.query {
				p.over, p.overSize = overQuery, p.pos+n+2
			}
			if p.over != 0 {
				p.bulk += 2
			}

		case stBulk:
			if p.over != 0 {
				take := min(p.bulk, len(buf)-p.pos)
				p.pos += take
				p.bulk -= take
				if p.bulk > 0 {
					return p.more()
				}
			} else {
				end := p.pos + p.bulk
				if end+2 > len(buf) {
					return p.more()
				}
				if buf[end] != '\r' || buf[end+1] != '\n' {
					return p.fail("bulk string without its line end")
				}
				p.args = append(p.args, span{uint32(p.pos), uint32(p.bulk)})
				p.pos = end + 2
			}
			p.left--
			p.state = stHead
		}
	}
}

// more ends a call in the middle of a command. Bytes of a command that is
// being skipped are used up at once, so it takes no room however long it is.
func (p *parser) more() (int, parsed) {
	if p.over == 0 {
		return 0, parseMore
	}
	used := p.pos
	p.pos = 0
	return used, parseMore
}

func (p *parser) whole() (int, parsed) {
	used, what := p.pos, parseCommand
	if p.over != 0 {
		what = parseOver
	}
	p.state, p.pos = stStart, 0
	return used, what
}

func (p *parser) fail(why string) (int, parsed) {
	p.broken = why
	return 0, parseBroken
}

// header reads the number of a line such as "*3\r\n". width 0: the line is not
// whole; not ok: it is no such line.
func header(b []byte) (n, width int, ok bool) {
	i := 1
	neg := i < len(b) && b[i] == '-'
	if neg {
		i++
	}
	digits := i
	for ; i < len(b) && i < headerMax; i++ {
		d := b[i] - '0'
		if d > 9 {
			break
		}
		if n > bulkBytesHard {
			return 0, 0, false // far above every limit, and no overflow
		}
		n = n*10 + int(d)
	}
	switch {
	case i == headerMax:
		return 0, 0, false
	case i == len(b):
		return 0, 0, true
	case i == digits || b[i] != '\r':
		return 0, 0, false
	case i+1 == len(b):
		return 0, 0, true
	case b[i+1] != '\n':
		return 0, 0, false
	}
	if neg {
		n = -n
	}
	return n, i + 2, true
}

// inline reads a command typed as a line of words. Quoted words are decoded
// where they stand (they only get shorter), which is safe because the line is
// whole and is never looked at again.
func (p *parser) inline(buf []byte) (int, parsed) {
	i := bytes.IndexByte(buf[p.pos:], '\n')
	lim := min(inlineMax, p.lim.query)
	if i < 0 {
		if len(buf) > lim {
			return p.fail("too big inline request")
		}
		p.pos = len(buf)
		return 0, parseMore
	}
	end := p.pos + i
	p.pos = 0
	if end > lim {
		return p.fail("too big inline request")
	}
	used := end + 1
	if end > 0 && buf[end-1] == '\r' {
		end--
	}
	var ok bool
	p.args, ok = splitWords(buf[:end], p.args[:0])
	switch {
	case !ok:
		return p.fail("unbalanced quotes in request")
	case len(p.args) == 0:
		return used, parseEmpty
	case len(p.args) > p.lim.args:
		p.over, p.overSize = overArgs, len(p.args)
		return used, parseOver
	}
	return used, parseCommand
}

func blank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f' || c == 0
}

// splitWords cuts line at blanks; "double" and 'single' quotes as in redis-cli.
func splitWords(line []byte, args []span) ([]span, bool) {
	i, w := 0, 0 // read and write position; w <= i
	for {
		for i < len(line) && blank(line[i]) {
			i++
		}
		if i == len(line) {
			return args, true
		}
		w = i
		start := w
		var quote byte
		for i < len(line) && (quote != 0 || !blank(line[i])) {
			c := line[i]
			i++
			switch {
			case quote == 0 && (c == '"' || c == '\'') && w == start:
				quote = c
				continue
			case quote != 0 && c == quote:
				if i < len(line) && !blank(line[i]) {
					return args, false // a closing quote ends its word
				}
				quote = 0
				continue
			case quote == '"' && c == '\\' && i < len(line):
				c = line[i]
				i++
				switch c {
				case 'n':
					c = '\n'
				case 'r':
					c = '\r'
				case 't':
					c = '\t'
				case 'a':
					c = '\a'
				case 'b':
					c = '\b'
				case 'x':
					if i+1 < len(line) {
						hi, ok1 := hexDigit(line[i])
						lo, ok2 := hexDigit(line[i+1])
						if ok1 && ok2 {
							c = hi<<4 | lo
							i += 2
						}
					}
				}
			case quote == '\'' && c == '\\' && i < len(line) && line[i] == '\'':
				c = '\''
				i++
			}
			line[w] = c
			w++
		}
		if quote != 0 {
			return args, false
		}
		args = append(args, span{uint32(start), uint32(w - start)})
	}
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
