package rdma

import "context"

// Exchange carries small requests between the endpoints of one shard at two
// nodes: connection parameters, and nothing that belongs to the data path. The
// control plane implements it, so whoever asks has been authenticated, and
// keys and addresses of memory travel nowhere else (transport.md, "verbs").
// Any goroutine.
type Exchange interface {
	// Call sends a request of at most ExchangeMax bytes to the endpoint of this
	// shard at the peer and returns its answer. ErrNoPeer if the peer has no
	// such endpoint at the moment, else what the control plane reports.
	Call(ctx context.Context, peer int, request []byte) ([]byte, error)
	// Serve sets who answers the requests of peers; from is authenticated. An
	// error of answer reaches the caller as text. nil: nobody, from now on;
	// Serve then returns after the last answer has ended.
	Serve(answer func(ctx context.Context, from int, request []byte) ([]byte, error))
}

// ExchangeMax bounds requests and answers of an Exchange, in bytes.
const ExchangeMax = 32 << 10
