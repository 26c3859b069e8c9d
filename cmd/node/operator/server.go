package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ErrServe means that the socket could not be made.
var ErrServe = errors.New("operator: no socket for orders")

// Limits of a request.
const (
	requestMax  = 4 << 10         // bytes of an order, and of its head
	requestTime = 5 * time.Second // in which it must have arrived
	// WithinMax bounds how long an order may take.
	WithinMax = 10 * time.Minute
	connsMax  = 8
)

const (
	folder     = "operator" // in the state directory, mode 0700
	socketName = "socket"
)

// Drain is the order to leave the group.
type Drain struct {
	// Stay: the process lives on, votes, and comes back by the order to resume.
	Stay bool `json:"stay"`
	// Restart: the process ends with the status that asks its supervisor to
	// start it again.
	Restart bool `json:"restart"`
	// Force: also where too few nodes are left to decide anything.
	Force  bool          `json:"force"`
	Within time.Duration `json:"within_ns"`
}

// ColdStart is the order to start without members that are lost.
type ColdStart struct {
	Epoch   uint32 `json:"epoch"`
	Without []int  `json:"without"`
	Dry     bool   `json:"dry"` // only say what would be lost
}

// Done is the answer to an order that was carried out.
type Done struct {
	Text string `json:"text"`
	// Failed says what went wrong although it was carried out, and what follows.
	Failed string `json:"failed,omitempty"`
}

// Actions carry orders out. An error refuses the order: nothing was changed
// unless it says so.
type Actions struct {
	Drain     func(context.Context, Drain) (Done, error)
	Resume    func() (Done, error)
	ColdStart func(ColdStart) (Done, error)
	// Forget gives up what is kept for nodes that are away.
	Forget func() (Done, error)
	// AcceptLoss gives up damaged records that no live node has a good copy of.
	AcceptLoss func() (Done, error)
	// Audit hears of every order before it is carried out.
	Audit func(what string)
}

// Server takes orders until Close.
type Server struct {
	actions Actions
	log     *slog.Logger
	http    http.Server
	dir     *os.File // the socket's directory
	path    string
	busy    atomic.Pointer[underWay] // one order at a time; nil: none
	done    chan struct{}
}

// Serve listens in stateDir, whose process the caller is alone: a socket that
// is left over from an earlier one is replaced. Errors wrap ErrServe.
func Serve(stateDir string, a Actions, log *slog.Logger) (*Server, error) {
	s := &Server{actions: a, log: log, path: filepath.Join(stateDir, folder, socketName), done: make(chan struct{})}
	l, err := s.listen()
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrServe, s.path, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, r *http.Request) { order(s, w, r, s.drain) })
	mux.HandleFunc("POST /resume", func(w http.ResponseWriter, r *http.Request) {
		order(s, w, r, func(context.Context, *http.ResponseController, struct{}) (Done, error) { return a.Resume() })
	})
	mux.HandleFunc("POST /forget", func(w http.ResponseWriter, r *http.Request) {
		order(s, w, r, func(context.Context, *http.ResponseController, struct{}) (Done, error) { return a.Forget() })
	})
	mux.HandleFunc("POST /accept-loss", func(w http.ResponseWriter, r *http.Request) {
		order(s, w, r, func(context.Context, *http.ResponseController, struct{}) (Done, error) { return a.AcceptLoss() })
	})
	mux.HandleFunc("POST /cold-start", func(w http.ResponseWriter, r *http.Request) {
		order(s, w, r, func(_ context.Context, w *http.ResponseController, o ColdStart) (Done, error) {
			// A node on its way back looks at orders between two steps.
			if err := w.SetWriteDeadline(time.Now().Add(WithinMax)); err != nil {
				return Done{}, fmt.Errorf("operator: %w", err)
			}
			return a.ColdStart(o)
		})
	})
	s.http = http.Server{
		Handler: mux, ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, WriteTimeout: 2 * requestTime,
		IdleTimeout: requestTime, MaxHeaderBytes: requestMax, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, giverKey{}, c.(*conn).who)
		},
	}
	s.http.SetKeepAlivesEnabled(false)
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("operator: takes no orders any more", "error", err)
		}
	}()
	return s, nil
}

// listen makes directory and socket.
func (s *Server) listen() (_ net.Listener, err error) {
	dir := filepath.Dir(s.path)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if s.dir, err = openDir(dir); err != nil {
		return nil, err
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(err, s.dir.Close())
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: short(s.dir)})
	if err != nil {
		return nil, errors.Join(err, s.dir.Close())
	}
	l.SetUnlinkOnClose(false) // Close does it, by the name that lasts
	if err := os.Chmod(s.path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close(), s.dir.Close())
	}
	return &listener{UnixListener: l, log: s.log}, nil
}

// openDir opens the socket's directory if it is this user's alone.
func openDir(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	switch err := unix.Fstat(fd, &st); {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), dir.Close())
	case int(st.Uid) != os.Geteuid() && os.Geteuid() != 0:
		return nil, errors.Join(fmt.Errorf("%s belongs to user %d, this is user %d", path, st.Uid, os.Geteuid()), dir.Close())
	case st.Mode&0o077 != 0:
		return nil, errors.Join(fmt.Errorf("%s has mode %04o: others may give orders; chmod it to 0700", path, st.Mode&0o777), dir.Close())
	}
	return dir, nil
}

// short is a name for the socket that fits the 108 bytes a socket's address
// may have, however deep the state directory lies.
func short(dir *os.File) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName) }

// Close ends the listener, after the order under way if that ends before ctx.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	if rm := os.Remove(s.path); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return errors.Join(err, s.dir.Close())
}

// giver is who gives an order.
type giver struct {
	pid int32
	uid uint32
}

type giverKey struct{}

// listener lets in whom the kernel says is this user, or root, and not too many
// at a time.
type listener struct {
	*net.UnixListener
	log   *slog.Logger
	conns atomic.Int32
}

type conn struct {
	*net.UnixConn
	who   giver
	close sync.Once
	gone  func()
}

func (c *conn) Close() error {
	c.close.Do(c.gone)
	return c.UnixConn.Close()
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		who, err := peerOf(c)
		if err == nil && !trusted(who.uid, uint32(os.Geteuid())) {
			err = fmt.Errorf("user %d is neither this node's nor root", who.uid)
		}
		if err == nil && l.conns.Load() >= connsMax {
			err = fmt.Errorf("%d connections already", connsMax)
		}
		if err != nil {
			l.log.Warn("operator: turned away", "pid", who.pid, "uid", who.uid, "error", err)
			_ = c.Close()
			continue
		}
		l.conns.Add(1)
		return &conn{UnixConn: c, who: who, gone: func() { l.conns.Add(-1) }}, nil
	}
}

func trusted(uid, own uint32) bool { return uid == own || uid == 0 }

// peerOf asks the kernel who is at the other end.
func peerOf(c *net.UnixConn) (who giver, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return who, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return who, err
	}
	if credErr != nil {
		return who, credErr
	}
	return giver{cred.Pid, cred.Uid}, nil
}

// order reads one order, has it carried out and answers.
func order[O any](s *Server, w http.ResponseWriter, r *http.Request, do func(context.Context, *http.ResponseController, O) (Done, error)) {
	var o O
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, requestMax))
	in.DisallowUnknownFields()
	if err := in.Decode(&o); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("operator: not an order: %w", err))
		return
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		refuse(w, http.StatusBadRequest, errors.New("operator: more than one order in a request"))
		return
	}
	mine := &underWay{r.URL.Path[1:], time.Now()}
	for !s.busy.CompareAndSwap(nil, mine) {
		if other := s.busy.Load(); other != nil {
			refuse(w, http.StatusConflict, fmt.Errorf("operator: busy: %s is under way since %s; give the order again when it is done", other.name, other.since.Format(time.TimeOnly)))
			return
		}
	}
	defer s.busy.Store(nil)
	who, _ := r.Context().Value(giverKey{}).(giver)
	what := fmt.Sprintf("%s %+v by pid %d, uid %d", r.URL.Path[1:], o, who.pid, who.uid)
	s.log.Info("operator: order", "what", what)
	if s.actions.Audit != nil {
		s.actions.Audit(what)
	}
	// Whoever gave it may go away: an order that was taken is carried out.
	done, err := do(context.WithoutCancel(r.Context()), http.NewResponseController(w), o)
	if err != nil {
		s.log.Info("operator: order refused", "what", what, "error", err)
		refuse(w, http.StatusConflict, err)
		return
	}
	if done.Failed != "" {
		s.log.Warn("operator: order carried out, but not in order", "what", what, "result", done.Text, "error", done.Failed)
	} else {
		s.log.Info("operator: order carried out", "what", what, "result", done.Text)
	}
	answer(w, http.StatusOK, done)
}

func (s *Server) drain(ctx context.Context, w *http.ResponseController, o Drain) (Done, error) {
	if o.Within <= 0 || o.Within > WithinMax {
		return Done{}, fmt.Errorf("operator: a drain within %v: want more than 0 and at most %v", o.Within, WithinMax)
	}
	if o.Stay && o.Restart {
		return Done{}, errors.New("operator: a drained process stays or is started again, not both")
	}
	// Flushing what is drained takes what it takes: twice the time is for that.
	if err := w.SetWriteDeadline(time.Now().Add(2*o.Within + requestTime)); err != nil {
		return Done{}, fmt.Errorf("operator: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.Within)
	defer cancel()
	return s.actions.Drain(ctx, o)
}

// underWay is an order that is being carried out.
type underWay struct {
	name  string
	since time.Time
}

type refusal struct {
	Error string `json:"error"`
}

func refuse(w http.ResponseWriter, code int, err error) { answer(w, code, refusal{err.Error()}) }

func answer(w http.ResponseWriter, code int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{"error":"operator: no answer can be made"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // whoever asked may have gone away
}
