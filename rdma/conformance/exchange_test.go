package conformance

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"healkv/rdma"
)

func TestHub(t *testing.T) {
	h := NewHub()
	a, b1, b2, other := h.Exchange(0, 0), h.Exchange(1, 0), h.Exchange(1, 0), h.Exchange(1, 1)
	ctx := context.Background()
	says := func(text string) func(context.Context, int, []byte) ([]byte, error) {
		return func(_ context.Context, from int, request []byte) ([]byte, error) {
			if len(request) == 0 {
				return nil, rdma.ErrRange
			}
			return append([]byte(text), byte('0'+from), request[0]), nil
		}
	}
	want := func(text string) {
		t.Helper()
		if got, err := a.Call(ctx, 1, []byte("x")); err != nil || string(got) != text {
			t.Errorf("%q, %v; want %q", got, err, text)
		}
	}
	other.Serve(says("other"))
	if _, err := a.Call(ctx, 1, nil); !errors.Is(err, rdma.ErrNoPeer) {
		t.Errorf("nobody serves: %v", err)
	}
	b1.Serve(says("b1"))
	want("b10x")
	b2.Serve(says("b2"))
	want("b20x")
	b2.Serve(nil)
	want("b10x")
	if _, err := a.Call(ctx, 1, nil); err == nil || errors.Is(err, rdma.ErrRange) || !strings.Contains(err.Error(), rdma.ErrRange.Error()) {
		t.Errorf("an error must arrive as text: %v", err)
	}
	if _, err := a.Call(ctx, 1, bytes.Repeat([]byte("x"), rdma.ExchangeMax+1)); err == nil {
		t.Error("a request too long was sent")
	}
	h.Cut(0, 1)
	if _, err := a.Call(ctx, 1, nil); !errors.Is(err, ErrCut) {
		t.Errorf("cut: %v", err)
	}
	h.Mend(0, 1)
	want("b10x")

	// A caller whose time is over leaves; Serve(nil) waits for the answer.
	begun, end := make(chan struct{}), make(chan struct{})
	b1.Serve(func(context.Context, int, []byte) ([]byte, error) {
		close(begun)
		<-end
		return nil, nil
	})
	short, cancel := context.WithCancel(ctx)
	left := make(chan error)
	go func() {
		_, err := a.Call(short, 1, []byte("x"))
		left <- err
	}()
	<-begun
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	stopped := make(chan struct{})
	go func() {
		b1.Serve(nil)
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("Serve(nil) did not wait for the answer under way")
	default:
	}
	close(end)
	<-stopped
	if n := h.Calls(); n != 6 {
		t.Errorf("%d calls counted", n)
	}
}
