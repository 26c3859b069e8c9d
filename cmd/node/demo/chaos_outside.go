package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"healkv/bench/load"
	"healkv/bench/record"
	"healkv/dataplane"
)

// outside are clients in this process, one for each node, that go through the
// nodes' Redis ports. Unlike those inside the nodes they live on when a node is
// killed, and have requests in a node's socket when it is paused: those come to
// be answered by a node that may have lost its lease long ago.
type outside struct {
	x      *chaos
	cancel context.CancelFunc
	done   sync.WaitGroup
	probes []*probe // of node 0, of node 1, …
	mu     sync.Mutex
	errs   []error
}

// outsideClient numbers them: above every client inside a node.
const outsideClient = 1 << 24

func (x *chaos) openOutside() (*outside, error) {
	ctx, cancel := context.WithCancel(context.Background())
	o := &outside{x: x, cancel: cancel}
	if err := o.openProbes(); err != nil {
		cancel()
		return nil, err
	}
	for _, i := range x.k.all() {
		o.done.Go(func() { o.fail(o.watch(ctx, i)) })
	}
	if x.round.Model == "scope" {
		o.done.Go(func() { o.fail(o.persist(ctx)) })
	}
	return o, nil
}

func (o *outside) fail(err error) {
	if err != nil {
		o.mu.Lock()
		o.errs = append(o.errs, err)
		o.mu.Unlock()
	}
}

// close ends the clients; what ended one before is the error.
func (o *outside) close() error {
	o.cancel()
	o.done.Wait()
	return errors.Join(append(o.errs, o.closeProbes())...)
}

func (o *outside) watch(ctx context.Context, i int) error {
	path := filepath.Join(o.x.files, fmt.Sprintf("outside%d.history", i))
	client := uint32(outsideClient + i)
	h, err := record.CreateHistory(path, record.HistoryHeader{Client: client})
	if err != nil {
		return err
	}
	defer h.Close()
	o.x.mu.Lock()
	o.x.history = append(o.x.history, path)
	o.x.mu.Unlock()
	w, err := load.NewWatcher(load.WatchConfig{Client: client, Seed: o.x.round.Seed, Keys: watchKeys, Rate: 120, History: h})
	if err != nil {
		return err
	}
	s := &respSession{resp: o.x.dial(i)}
	defer s.close()
	if err := w.Run(ctx, s); err != nil {
		return fmt.Errorf("client at node %d's Redis port: %w", i, err)
	}
	return nil
}

// persist writes in scopes and asks for their durability, now at one node, now
// at another.
func (o *outside) persist(ctx context.Context) error {
	for n := 0; ctx.Err() == nil; n++ {
		i := n % o.x.o.Nodes
		c := o.x.dial(i)
		err := c.ok("HEAL.SCOPE", strconv.Itoa(n+1))
		for k := 0; k < 5 && err == nil; k++ {
			err = c.ok("SET", fmt.Sprintf("scope:%d:%d", i, k), strconv.Itoa(n))
		}
		if err == nil {
			err = c.ok("HEAL.PERSIST")
		}
		c.close()
		if err == nil {
			o.x.round.Persisted++
		}
		if sleep(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	if o.x.round.Persisted == 0 {
		return errors.New("not one scope was persisted in the whole round")
	}
	return nil
}

// resp is one connection to a node's Redis port, made when it is needed.
type resp struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
}

// respPatience is longer than any deadline of an operation and any pause of
// pauseAll together.
const respPatience = 14 * time.Second

var (
	errNotSent  = errors.New("not connected, nothing was sent")
	errNoAnswer = errors.New("the connection broke before the answer")
)

func (x *chaos) dial(i int) *resp { return &resp{address: x.c.Configs[i].Resp.Listen} }

func (c *resp) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// ok sends a command that is answered with a simple string.
func (c *resp) ok(args ...string) error {
	answer, err := c.do(args...)
	if err == nil && answer != "OK" {
		err = fmt.Errorf("%s was answered with %.40q", args[0], answer)
	}
	return err
}

// errNil is the answer to a GET of a key that is not there.
var errNil = errors.New("no such key")

// do sends a command and waits for its answer. An error reply is an error with
// its text; errNotSent and errNoAnswer are the connection's.
func (c *resp) do(args ...string) (string, error) {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.address, time.Second)
		if err != nil {
			return "", errNotSent
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	if err := c.send(args...); err != nil {
		return "", err
	}
	return c.receive()
}

// send and receive are the halves of do, on a connection that is there.
func (c *resp) send(args ...string) error {
	c.conn.SetDeadline(time.Now().Add(respPatience))
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n", len(a))
		b = append(append(b, a...), "\r\n"...)
	}
	if _, err := c.conn.Write(b); err != nil {
		c.close()
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return nil
}

func (c *resp) receive() (string, error) {
	answer, err := c.reply()
	if err != nil {
		c.close()
		return "", fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	switch {
	case answer[0] == '-':
		return "", errors.New(answer[1:])
	case answer[0] == '_':
		return "", errNil
	}
	return answer[1:], nil
}

// reply reads an answer with its type in front; of a bulk string the bytes, '_'
// for none.
func (c *resp) reply() (string, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return "", errors.New("an empty line")
	}
	if line[0] != '$' {
		return line, nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 {
		return "_", nil
	}
	value := make([]byte, n+2)
	if _, err := io.ReadFull(c.in, value); err != nil {
		return "", err
	}
	return "$" + string(value[:n]), nil
}

// respSession does a watcher's operations, each to its end, over such a
// connection.
type respSession struct {
	*resp
	op *dataplane.Op // done, not polled yet
}

func (s *respSession) Submit(op *dataplane.Op) error {
	var answer string
	var err error
	if op.Kind == dataplane.OpPut {
		answer, err = s.do("SET", string(op.Key), string(op.Value))
		if err == nil && answer != "OK" {
			err = fmt.Errorf("SET was answered with %.40q", answer)
		}
	} else if answer, err = s.do("GET", string(op.Key)); err == nil {
		op.Value = append(op.Value[:0], answer...)
	}
	switch {
	case err == nil:
	case errors.Is(err, errNil):
		err = dataplane.ErrNotFound
	case errors.Is(err, errNotSent):
		time.Sleep(5 * time.Millisecond) // nobody is there; asking faster helps nobody
		err = dataplane.ErrTryAgain
	case errors.Is(err, errNoAnswer), strings.HasPrefix(err.Error(), "UNKNOWN"):
		err = dataplane.ErrUnknown
	case strings.HasPrefix(err.Error(), "TRYAGAIN"):
		err = dataplane.ErrTryAgain
	case strings.HasPrefix(err.Error(), "OOM"):
		err = dataplane.ErrNoRoom
	}
	op.Err, s.op = err, op
	return nil
}

func (s *respSession) Kick() {}

func (s *respSession) Poll(done []*dataplane.Op) int {
	if s.op == nil {
		return 0
	}
	done[0], s.op = s.op, nil
	return 1
}

func (s *respSession) Wait(time.Duration) bool { return s.op != nil }
