package membership

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/proto"
	"healkv/heal/control"
	"healkv/heal/identity"
	"healkv/heal/membership/grant"
)

// A group over TCP: nodes 0 and 1 in this process, node 2 in one of its own,
// that can be killed.

const refusedNodes = 3

func init() {
	if spec := os.Getenv("MEMBERSHIP_REFUSED_CHILD"); spec != "" {
		if err := refusedChild(spec); err != nil {
			fmt.Fprintln(os.Stderr, "child", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// overTCP makes the service of node i of a group in dir.
func overTCP(dir string, addresses []string, i int, lease time.Duration, trust bool) (*control.Server, *Service, error) {
	ctl, err := control.New(control.Config{ClusterID: testCluster, Node: proto.NodeID(i), Configured: 1<<refusedNodes - 1, Logger: testLog(i),
		TCP: &control.TCP{Listen: addresses[i], Peers: addresses, Files: identity.MadeFiles(filepath.Join(dir, fmt.Sprint("node-", i)))}})
	if err != nil {
		return nil, nil, err
	}
	s, err := New(Config{
		Node: proto.NodeID(i), Configured: 1<<refusedNodes - 1, ClusterID: testCluster, StateDir: filepath.Join(dir, fmt.Sprint("s", i)), Ephemeral: true,
		Initial: proto.View{Shards: 2}, Lease: lease, Control: ctl, TrustRefused: trust, Logger: testLog(i),
	})
	if err != nil {
		return nil, nil, err
	}
	if err := ctl.Start(); err != nil {
		return nil, nil, err
	}
	s.Start()
	return ctl, s, nil
}

// joinGroup makes a life of node i and waits for the first view.
func joinGroup(s *Service, i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	inc, err := s.NextIncarnation(ctx)
	if err != nil {
		return err
	}
	s.SetMember(proto.Member{Node: proto.NodeID(i), Incarnation: inc})
	_, err = s.Bootstrap(ctx)
	return err
}

func refusedChild(spec string) error {
	fields := strings.Split(spec, ",")
	lease, err := time.ParseDuration(fields[1])
	if err != nil {
		return err
	}
	_, s, err := overTCP(fields[0], fields[2:], refusedNodes-1, lease, false)
	if err != nil {
		return err
	}
	if err := joinGroup(s, refusedNodes-1); err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin) // until killed, or the parent is gone
	return nil
}

// killed kills node 2 of a group and says after how long a view without it was
// known to both others.
func killed(t *testing.T, lease time.Duration, trust bool) time.Duration {
	dir := t.TempDir()
	if _, _, err := identity.Make(identity.MakeOptions{Dir: dir, Cluster: testCluster, Nodes: refusedNodes, Valid: time.Hour, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	var held []net.Listener
	for i := range refusedNodes {
		if err := FormatState(filepath.Join(dir, fmt.Sprint("s", i)), testCluster, proto.NodeID(i), true); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held, addresses = append(held, l), append(addresses, l.Addr().String())
	}
	for _, l := range held {
		l.Close()
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MEMBERSHIP_REFUSED_CHILD="+strings.Join(append([]string{dir, lease.String()}, addresses...), ","))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	defer func() { cmd.Process.Kill(); <-done }()
	var services []*Service
	for i := range 2 {
		ctl, s, err := overTCP(dir, addresses, i, lease, trust)
		if err != nil {
			t.Fatal(err)
		}
		defer ctl.Close()
		defer s.Close()
		services = append(services, s)
	}
	joined := make(chan error, 2)
	for i, s := range services {
		go func() { joined <- joinGroup(s, i) }()
	}
	for range services {
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range services {
		until(t, "a lease in the first view", func() bool { v := s.Current(); return v.Live == 1<<refusedNodes-1 && s.Lease().Valid() })
	}
	began := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, s := range services {
		until(t, "a view without it", func() bool { return !s.Current().Live.Has(refusedNodes - 1) })
	}
	return time.Since(began)
}

// A process that is killed elsewhere is out as soon as its address refuses
// connections, where that is trusted: long before its lease is over.
func TestRefusedIsDead(t *testing.T) {
	const lease, runs = 2 * time.Second, 5
	limit := lease / 2 // a loaded machine; what an idle one does is below, and in the log
	if refusedStrict() {
		limit = 50 * time.Millisecond
	}
	var took []time.Duration
	for range runs {
		took = append(took, killed(t, lease, true))
	}
	slices.Sort(took)
	t.Logf("%d kills: out after %v in the median, %v at most, with a lease of %v", runs, took[runs/2], took[runs-1], lease)
	if took[runs/2] > limit {
		t.Errorf("out after %v in the median, limit %v", took[runs/2], limit)
	}
}

// Where it is not trusted, which is so unless that was asked for, the lease is
// waited for.
func TestRefusedIsNotTrustedByItself(t *testing.T) {
	const lease = time.Second
	took := killed(t, lease, false)
	t.Logf("out after %v, with a lease of %v", took, lease)
	if took < lease/2 {
		t.Errorf("out after %v, and the lease of %v was not over", took, lease)
	}
}

// refusedStrict holds the machine to what an idle one does.
func refusedStrict() bool {
	strict, _ := strconv.ParseBool(os.Getenv("HEALKV_FAILOVER_STRICT"))
	return strict
}

// TestOneRefusalRemovesNobody: where only one node is refused, a broken way to a
// member that serves, the others keep it, and its lease; they are not asked about
// it all the time, and that node takes it for alive again when it speaks.
func TestOneRefusalRemovesNobody(t *testing.T) {
	most := 0
	for _, apart := range []bool{false, true} { // for longer than the refusal
		for seed := range uint64(3) {
			w := calmWorld(t, seed, 3)
			a, b, x := w.nodes[0], w.nodes[1], w.nodes[2]
			a.s.cfg.TrustRefused = true
			polls, ask := 0, b.plane.handlers[kindMayDrop]
			b.plane.handlers[kindMayDrop] = func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error) {
				if from.Node == a.id {
					polls++
				}
				return ask(ctx, from, body)
			}
			life, epoch := x.life, w.check.newest.View.Epoch
			w.sim.At(0, func() {
				if apart {
					w.cut[a.id][x.id], w.cut[x.id][a.id] = true, true
					a.plane.closed(x.plane, true)
					x.plane.closed(a.plane, true)
				}
				a.p.Go(func() { a.s.onRefused(control.Event{Kind: control.PeerRefused, Member: life}) })
			})
			same := func(when string) {
				t.Helper()
				if v := &w.check.newest.View; v.Epoch != epoch || !v.Live.Has(x.id) || x.life != life {
					t.Errorf("seed %d, apart %v, %s: epoch %d, live %v after node 0 alone was refused by node 2; want epoch %d\n%s", seed, apart, when, v.Epoch, v.Live.Nodes(nil), epoch, w.tail(15))
				}
				if !x.s.holder.ValidAt(x.p.Now()) {
					t.Errorf("seed %d, apart %v, %s: node 2 has lost its lease", seed, apart, when)
				}
			}
			w.run(10 * w.lease)
			same("after ten leases")
			if apart != a.s.granter.Refused(life) {
				t.Errorf("seed %d: the ways are broken %v, and node 2 counts as over by its refusals: %v", seed, apart, !apart)
			}
			most = max(most, polls)
			w.cut[a.id][x.id], w.cut[x.id][a.id] = false, false
			w.run(3 * w.lease)
			same("mended")
			if now := a.p.Now(); a.s.granter.Refused(life) || a.s.granter.Ended(life) || !slices.Contains(a.s.granter.Holds(now), life) {
				t.Errorf("seed %d, apart %v: node 0 does not guard node 2's lease again after it spoke: %v", seed, apart, a.s.granter.Holds(now))
			}
			w.killAll()
		}
	}
	t.Logf("at most %d polls of a node in ten leases", most)
	if most == 0 || most > 60 { // a few at once, and then four a lease
		t.Errorf("at most %d polls of a node in ten leases", most)
	}
}

// unreached is a control plane that has lost a member.
type unreached struct {
	Control
	connected bool
}

func (u *unreached) Connected(proto.NodeID) bool { return u.connected }

// TestRefusalIsAwaited: an acceptor that is asked about a member it has lost
// answers when its own link has been refused too, so that one poll is enough;
// but not for ever, not where a refusal counts for nothing, and not while the
// member is connected.
func TestRefusalIsAwaited(t *testing.T) {
	m := proto.Member{Node: 2, Incarnation: 4}
	for _, c := range []struct {
		name             string
		trust, connected bool
		after            time.Duration // its own refusal comes; 0: never
		took             time.Duration
		refused          bool
	}{
		{"refused soon", true, false, 3 * time.Millisecond, 3 * time.Millisecond, true},
		{"never refused", true, false, 0, refusedSoon, false},
		{"refused too late", true, false, 2 * refusedSoon, refusedSoon, false},
		{"still connected", true, true, 3 * time.Millisecond, 0, false},
		{"counts for nothing", false, false, 3 * time.Millisecond, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Service{cfg: Config{TrustRefused: c.trust}, ctl: &unreached{connected: c.connected}, env: flow.Real, ctx: t.Context(),
					log: slog.New(slog.DiscardHandler), granter: grant.NewGranter(int64(time.Second), 0), look: make(chan struct{}, 1), refusal: make(chan struct{})}
				if c.after != 0 {
					time.AfterFunc(c.after, func() { s.onRefused(control.Event{Kind: control.PeerRefused, Member: m}) })
				}
				begin := time.Now()
				s.awaitRefusal(t.Context(), m)
				took := time.Since(begin)
				s.mu.Lock()
				refused := s.granter.Refused(m)
				s.mu.Unlock()
				if took != c.took || refused != c.refused {
					t.Errorf("waited %v, refused %v; want %v, %v", took, refused, c.took, c.refused)
				}
				time.Sleep(time.Second) // in the bubble: what is under way ends
			})
		})
	}
}
