package healkv_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"healkv"
	"healkv/dataplane/proto"
	"healkv/dataplane/resp"
)

// front makes a node the backend of the Redis front end.
type front struct{ *healkv.Node }

func (f front) NewSession(notify func()) resp.Session { return f.NewWideSession(notify) }
func (f front) Info() []resp.InfoSection              { return nil }

// BenchmarkRedis is the front end over loopback with three nodes in one process.
// A round is one burst of each connection; the client writes them all, then
// reads all answers, so that client and server take turns on few cores. PING is
// the floor: the same loop and the same system calls, and nothing behind them.
func BenchmarkRedis(b *testing.B) {
	g := newGroup(b, 3, 1, proto.Synchronous, 64<<20)
	g.start()
	s, err := resp.Listen(resp.Config{Listen: "127.0.0.1:0"}, front{g.nodes[0]})
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served); !errors.Is(err, resp.ErrServerClosed) {
			b.Error(err)
		}
	}()
	value := strings.Repeat("v", 150)
	for _, conns := range []int{1, 64, 256} {
		for _, pipeline := range []int{1, 16} {
			var ncs []net.Conn
			for range conns {
				nc, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				ncs = append(ncs, nc)
			}
			floor := 0.0
			for _, op := range []struct{ name, command, reply string }{
				{"PING", "*1\r\n$4\r\nPING\r\n", "+PONG\r\n"},
				{"SET", "*3\r\n$3\r\nSET\r\n$4\r\nk%03d\r\n$150\r\n" + value + "\r\n", "+OK\r\n"},
				{"GET", "*2\r\n$3\r\nGET\r\n$4\r\nk%03d\r\n", "$150\r\n" + value + "\r\n"},
			} {
				b.Run(fmt.Sprintf("%s/conns=%d/pipeline=%d", op.name, conns, pipeline), func(b *testing.B) {
					bursts := make([][]byte, conns)
					for i := range bursts {
						for j := range pipeline {
							if op.name == "PING" {
								bursts[i] = append(bursts[i], op.command...)
								continue
							}
							bursts[i] = fmt.Appendf(bursts[i], op.command, (i*pipeline+j)%1000)
						}
					}
					in := make([]byte, pipeline*len(op.reply))
					round := func() {
						for i, nc := range ncs {
							if _, err := nc.Write(bursts[i]); err != nil {
								b.Fatal(err)
							}
						}
						for _, nc := range ncs {
							if _, err := io.ReadFull(nc, in); err != nil {
								b.Fatal(err)
							}
						}
					}
					for range 20 { // buffers find their size
						round()
					}
					if want := strings.Repeat(op.reply, pipeline); string(in) != want {
						b.Fatalf("%.200q, want %.200q", in, want)
					}
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					for b.Loop() {
						round()
					}
					runtime.ReadMemStats(&after)
					done := float64(b.N * conns * pipeline)
					rate := done / b.Elapsed().Seconds()
					b.ReportMetric(rate, "ops/s")
					b.ReportMetric(float64(after.Mallocs-before.Mallocs)/done, "allocs/command")
					if op.name == "PING" {
						floor = rate
					} else if floor > 0 {
						b.ReportMetric(rate/floor, "of-floor")
					}
				})
			}
			for _, nc := range ncs {
				nc.Close()
			}
		}
	}
}
