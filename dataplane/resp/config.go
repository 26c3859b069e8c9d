package resp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"healkv/dataplane"
)

// Errors of Config.Validate and Listen.
var (
	ErrConfig = errors.New("resp: bad configuration")
	ErrListen = errors.New("resp: cannot listen")
	// ErrServerClosed is what Serve returns after Shutdown or Close.
	ErrServerClosed = errors.New("resp: server closed")
)

// Limits of the protocol, in bytes or in arguments. What lies between a limit
// and its "Hard" twin is skipped and answered with an error; what lies beyond
// is no request a client of ours can mean, and closes the connection.
const (
	argsMax       = 1 << 14
	argsMaxHard   = 1 << 20
	bulkBytesMax  = dataplane.ValueBytesMax
	bulkBytesHard = 512 << 20
	inlineMax     = 64 << 10
	headerMax     = 32 // of a line "*3" or "$150"

	// Before AUTH, where a password is asked for.
	argsMaxNoAuth      = 16
	bulkBytesMaxNoAuth = 4 << 10
	queryBytesNoAuth   = 16 << 10

	passwordBytesMax = 1024
	nameBytesMax     = 256 // CLIENT SETNAME, SETINFO
)

// Sizes of a connection at work.
const (
	heldBytesMax = 4 << 20   // values under way or waiting for their turn
	inBytes      = 16 << 10  // read buffer at first
	inBytesBusy  = 64 << 10  // and when the client fills it
	inBytesKept  = 256 << 10 // largest one an unused workset keeps
	inBytesFew   = 4 << 20   // largest one a busy connection keeps
	querySlack   = 1 << 10   // a read buffer full to QueryBytesMax always holds a whole command
	outBytes     = 32 << 10  // replies are sent when there are this many
	directBytes  = 16 << 10  // a longer value goes to the socket without a copy
	pollEvery    = 256       // completions taken at a time
	eventsMax    = 256       // of one wait
	scratchKept  = 2 << 20   // largest buffer for a value that a loop keeps
	shelfMax     = 512       // worksets that a loop keeps
	shelfLarge   = 16        // of which so many with long queues

	// What one connection may do before others have their turn.
	readsPerTurn    = 4
	commandsPerTurn = 1024
)

// Every read buffer must be able to hold the largest SET.
const _ = uint(queryBytesMin - (bulkBytesMax + dataplane.KeyBytesMax + 4*headerMax))

const (
	// A goroutine that never waits for another one has to call the Go scheduler
	// now and then; see dataplane's constant of this name.
	showEvery = 5 * time.Millisecond
	lingerMax = time.Second
	partMax   = 250 * time.Millisecond // for a client to see that the server has stopped
)

// ConnsMaxDefault is how many clients may be connected if nobody says.
const ConnsMaxDefault = 10_000

const (
	queryBytesDefault = 16 << 20
	queryBytesMin     = 2 << 20
	replyBytesDefault = 64 << 20
	opTimeoutDefault  = 5 * time.Second
	writeTimeDefault  = 30 * time.Second
	pipelineMin       = 16
	pipelineMaxLimit  = 1024
)

// Config of a Server. The zero value of every field but Listen takes the
// default.
type Config struct {
	// Listen is host:port. A host that is not a loopback address needs a
	// Password: the protocol is not encrypted, and whoever reaches the port
	// could read and delete everything.
	Listen string
	// Socket is the absolute path of a socket file for clients of this host and
	// user, beside Listen; its mode is 0600. On a loaded machine a third more SET
	// fit over it than over TCP (docs/decisions/0038). Empty: none.
	Socket string
	// Password for AUTH and HELLO AUTH, user "default". At most 1024 bytes.
	Password string
	// ConnsMax is how many clients may be connected; the next one gets an
	// error and is closed. Default 10000.
	ConnsMax int
	// PipelineMax is how many commands of one connection are under way before
	// the front end stops reading from it. 16 to 1024, default 1024.
	PipelineMax int
	// QueryBytesMax bounds one command, and the input taken in ahead of a
	// client that does not read its replies. At least 2 MiB, default 16 MiB.
	QueryBytesMax int
	// ReplyBytesMax bounds the values one MGET may return. Default 64 MiB.
	ReplyBytesMax int
	// OpTimeout is the deadline of each operation. Default 5 s.
	OpTimeout time.Duration
	// WriteTimeout closes a connection whose client has taken not one byte of
	// its replies for so long. Default 30 s.
	WriteTimeout time.Duration
	// Loops is how many goroutines serve connections, each of which belongs to
	// one of them. Default: one for every two processors, at most 4.
	Loops int
	// IdleTimeout closes a connection that sent nothing for so long. 0: never.
	IdleTimeout time.Duration
	// Version of the node, for INFO.
	Version string
	// Logger gets a line for refused and broken connections. Default: none.
	Logger *slog.Logger
}

// Validate reports the first field that cannot work, with its value and limit.
// Errors wrap ErrConfig.
func (c Config) Validate() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("%w: listen address %q is not host:port", ErrConfig, c.Listen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%w: port %q of the listen address is not a number in 0..65535", ErrConfig, port)
	}
	if err := validSocket(c.Socket); err != nil {
		return err
	}
	if len(c.Password) > passwordBytesMax {
		return fmt.Errorf("%w: password of %d bytes, at most %d", ErrConfig, len(c.Password), passwordBytesMax)
	}
	if c.Password == "" && !loopbackHost(host) {
		return errNeedsPassword(c.Listen)
	}
	for _, f := range [...]struct {
		name      string
		v, lo, hi int
	}{
		{"maximum of connections", c.ConnsMax, 1, 1 << 20},
		{"maximum of pipelined commands", c.PipelineMax, pipelineMin, pipelineMaxLimit},
		{"number of loops", c.Loops, 1, 64},
		{"query buffer limit", c.QueryBytesMax, queryBytesMin, 1 << 30},
		{"reply limit", c.ReplyBytesMax, dataplane.ValueBytesMax, 1 << 30},
	} {
		if f.v != 0 && (f.v < f.lo || f.v > f.hi) {
			return fmt.Errorf("%w: %s is %d, must be in %d..%d", ErrConfig, f.name, f.v, f.lo, f.hi)
		}
	}
	for _, f := range [...]struct {
		name  string
		v, lo time.Duration
	}{
		{"operation timeout", c.OpTimeout, time.Millisecond},
		{"write timeout", c.WriteTimeout, 10 * time.Millisecond},
		{"idle timeout", c.IdleTimeout, 10 * time.Millisecond},
	} {
		if f.v != 0 && f.v < f.lo {
			return fmt.Errorf("%w: %s is %v, must be at least %v", ErrConfig, f.name, f.v, f.lo)
		}
	}
	return nil
}

func errNeedsPassword(listen string) error {
	return fmt.Errorf("%w: %q is reachable from other machines and no password is set; set one, or listen on 127.0.0.1", ErrConfig, listen)
}

// loopbackHost judges the text alone: a name other than localhost counts as
// reachable, whatever it resolves to today.
func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func (c Config) withDefaults() Config {
	or := func(p *int, d int) {
		if *p == 0 {
			*p = d
		}
	}
	orTime := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	or(&c.ConnsMax, ConnsMaxDefault)
	or(&c.PipelineMax, pipelineMaxLimit)
	or(&c.Loops, min(max(runtime.NumCPU()/2, 1), 4))
	or(&c.QueryBytesMax, queryBytesDefault)
	or(&c.ReplyBytesMax, replyBytesDefault)
	orTime(&c.OpTimeout, opTimeoutDefault)
	orTime(&c.WriteTimeout, writeTimeDefault)
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
