// Package admin is a node's HTTP listener for people and monitoring: /status
// (JSON), /metrics (Prometheus text), /healthz, /readyz and, if asked for, Go
// profiles. It is not the control plane, changes nothing in the node, and
// listens on loopback only, so it asks nobody who they are.
//
// Requests are served by ordinary goroutines and meet the node only through
// Source, whose functions any goroutine may call.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// Source is what is asked about a node.
type Source struct {
	Status  func() any // marshalled as /status
	Metrics func() []Metric
	Ready   func() bool // serving clients
	Pprof   bool
	// Extra adds handlers of a binary that has more to offer, such as load
	// generators. May be nil.
	Extra func(*http.ServeMux)
	Log   *slog.Logger
}

// Server listens until Close.
type Server struct {
	http http.Server
	at   net.Addr
	done chan struct{}
}

// Listen starts serving on address. The error of a port in use says so.
func Listen(address string, s Source) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin: admin.listen = %q: %w; is another node running with this port?", address, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Status()) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if _, err := w.Write(Exposition(s.Metrics())); err != nil {
			s.Log.Debug("admin: a reader of /metrics went away", "error", err)
		}
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.Ready() {
			http.Error(w, "not serving yet: see /status", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	if s.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	if s.Extra != nil {
		s.Extra(mux)
	}
	server := &Server{at: l.Addr(), done: make(chan struct{})}
	server.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(server.done)
		if err := server.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.Log.Error("admin: listener stopped", "error", err)
		}
	}()
	return server, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.at }

// Close lets running requests end until ctx is done, then cuts them.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return err
}

func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "admin: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(text, '\n')) // a reader that went away is not our affair
}
