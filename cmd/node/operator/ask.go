package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
)

var (
	// ErrAsk means that the order did not arrive, or that its answer did not:
	// then it may have been carried out.
	ErrAsk = errors.New("operator: the order could not be given")
	// ErrRefused is a node's refusal, with its reason.
	ErrRefused = errors.New("refused")
)

// Ask gives the node whose state directory is stateDir an order and waits for
// the answer, at most as long as ctx lasts. The kernel must say that the node
// runs as this user, or that this is root. Errors wrap ErrAsk or ErrRefused.
func Ask(ctx context.Context, stateDir, name string, order any) (done Done, err error) {
	path := filepath.Join(stateDir, folder)
	dir, err := openDir(path)
	if errors.Is(err, os.ErrNotExist) {
		return done, fmt.Errorf("%w: %s does not exist: the node has never run, or its release takes no orders", ErrAsk, path)
	}
	if err != nil {
		return done, fmt.Errorf("%w: %w", ErrAsk, err)
	}
	defer dir.Close()
	body, err := json.Marshal(order)
	if err != nil {
		return done, fmt.Errorf("%w: %w", ErrAsk, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://operator/"+name, bytes.NewReader(body))
	if err != nil {
		return done, fmt.Errorf("%w: %w", ErrAsk, err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: requestMax,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, short(dir)) }}}
	answer, err := client.Do(request)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return done, fmt.Errorf("%w: the node does not run (nobody listens in %s)", ErrAsk, path)
	case err != nil:
		return done, fmt.Errorf("%w, or its answer was lost: %w", ErrAsk, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return done, fmt.Errorf("%w, or its answer was lost: %w", ErrAsk, err)
	}
	if answer.StatusCode != http.StatusOK {
		var r refusal
		if json.Unmarshal(text, &r) != nil || r.Error == "" {
			r.Error = fmt.Sprintf("status %d: %.200s", answer.StatusCode, text)
		}
		return done, fmt.Errorf("%w: %s", ErrRefused, r.Error)
	}
	if err := json.Unmarshal(text, &done); err != nil {
		return done, fmt.Errorf("%w: its answer makes no sense: %w", ErrAsk, err)
	}
	return done, nil
}

// dial connects to a node that runs as this user.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", address)
	if err != nil {
		return nil, err
	}
	who, err := peerOf(c.(*net.UnixConn))
	if err == nil && os.Geteuid() != 0 && who.uid != uint32(os.Geteuid()) {
		err = fmt.Errorf("user %d listens there, not this node's", who.uid)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
