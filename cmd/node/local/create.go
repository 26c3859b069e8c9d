package local

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"healkv/cmd/node/config"
	"healkv/heal/identity"
)

// Ports are the first of those that nodes listen on, at loopback.
type Ports struct {
	Resp    int
	Admin   int
	Control int // of providers between hosts
	Data    int // of the provider tcp: one for every shard of every node
}

// Options say what cluster to make.
type Options struct {
	Dir    string
	Ports  Ports
	Source *config.Source // of what all nodes have in common, nodes included
	// Format makes the pool and the state file of one node.
	Format func(*config.Config) error
	// Say reports a step to the user; may be nil.
	Say func(format string, args ...any)
}

func (o *Options) say(format string, args ...any) {
	if o.Say != nil {
		o.Say(format, args...)
	}
}

// checkPorts tries every port a cluster would listen on, so that a port in use
// is reported before anything is made or started.
func checkPorts(addresses []string) error {
	for _, a := range addresses {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return fmt.Errorf("%w; stop what listens there, or choose other ports with --resp-port, --admin-port, --control-port and --data-port", err)
		}
		_ = l.Close()
	}
	return nil
}

func checkPortRanges(p *Ports, nodes, shards int) error {
	ranges := []struct {
		flag        string
		port, count int
	}{{"--resp-port", p.Resp, nodes}, {"--admin-port", p.Admin, nodes}, {"--control-port", p.Control, nodes}, {"--data-port", p.Data, nodes * shards}}
	for i, r := range ranges {
		if r.port == 0 && i >= 2 { // the provider has none
			continue
		}
		if r.port < 1 || r.port+r.count-1 > 65535 {
			return fmt.Errorf("%s %d: want a port from 1 to %d, as %d nodes take %d from there on", r.flag, r.port, 65535-r.count+1, nodes, r.count)
		}
		for _, o := range ranges[:i] {
			if o.port < r.port+r.count && r.port < o.port+o.count {
				return fmt.Errorf("%s %d and %s %d: the ports of %d nodes overlap; %s takes %d, %s %d", o.flag, o.port, r.flag, r.port, nodes, o.flag, o.count, r.flag, r.count)
			}
		}
	}
	return nil
}

// Create makes a cluster directory with everything in it, formats the pools,
// and opens it. On an error it removes what it made. What an interrupted
// Create left is made anew: no node ever ran on it.
func Create(o Options) (c *Cluster, err error) {
	shared := o.Source.Config
	shared.Node, shared.IndexDir = 0, "-"
	nodes := shared.Nodes
	if err := o.Source.ValidateShared(); err != nil {
		return nil, err
	}
	// No port is taken that nobody will listen on.
	if shared.Provider == "shm" {
		o.Ports.Control = 0
	}
	if shared.Provider != "tcp" {
		o.Ports.Data = 0
	}
	if err := checkPortRanges(&o.Ports, nodes, shared.Shards); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("cluster directory: %w", err)
	}
	if there, err := Exists(dir); err != nil {
		return nil, err
	} else if there {
		if old, err := readLayout(dir); err != nil {
			return nil, err
		} else if old.Complete {
			return nil, fmt.Errorf("%s holds a cluster already", dir)
		}
	}
	for _, r := range sweep() {
		o.say("removed %s: its cluster directory is gone", r)
	}

	l, err := o.layout(&shared)
	if err != nil {
		return nil, err
	}
	ephemeral, err := OnTmpfs(dir)
	if err != nil {
		return nil, err
	}
	shared.Ephemeral = ephemeral
	inMemory := shared.Domain == "memory" || shared.Domain == "auto" && ephemeral
	if inMemory {
		shared.Domain = "memory"
	}
	if err := checkPorts(l.addresses(shared.Shards)); err != nil {
		return nil, err
	}

	_, statErr := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cluster directory: %w; name another with --dir", err)
	}
	lock, err := take(filepath.Join(dir, lockName), dir, 0)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	if old, err := readLayout(dir); err == nil { // not complete, as seen above
		o.say("%s was left unfinished by an interrupted start; starting over", dir)
		if err := remove(dir, old.RunDir, false); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(dir, l.RunDir, statErr != nil))
		}
	}()
	if err := l.write(dir); err != nil {
		return nil, err
	}
	huge, err := makeRunDir(l.RunDir, dir, shared.HugePages)
	if err != nil {
		return nil, err
	}
	if err := checkSpace(dir, nodes, &shared, inMemory, l.RunDir, huge); err != nil {
		return nil, err
	}
	o.say("making %d nodes with pools of %v (domain %s%s) in %s", nodes, shared.PoolSize, shared.Domain, hugeWords(huge), dir)
	if err := o.makeNodes(dir, &l, &shared, inMemory); err != nil {
		return nil, err
	}
	l.Complete = true
	if err := l.write(dir); err != nil {
		return nil, err
	}
	return Open(dir)
}

func hugeWords(huge bool) string {
	if huge {
		return ", huge pages"
	}
	return ", small pages: no permission to mount a tmpfs with huge pages, or not asked for"
}

// layout fills in identity and run directory.
func (o *Options) layout(shared *config.Config) (Layout, error) {
	if shared.ClusterID == "" {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails (crypto/rand)
		shared.ClusterID = hex.EncodeToString(id[:])
	}
	if shared.HashSeed == 0 {
		var seed [8]byte
		_, _ = rand.Read(seed[:])
		shared.HashSeed = config.HashSeed(binary.LittleEndian.Uint64(seed[:]))
	}
	l := Layout{Version: layoutVersion, ClusterID: shared.ClusterID, Nodes: shared.Nodes,
		RespPort: o.Ports.Resp, AdminPort: o.Ports.Admin, ControlPort: o.Ports.Control, DataPort: o.Ports.Data, RunDir: shared.RunDir}
	if len(l.ClusterID) != 32 {
		return l, fmt.Errorf("cluster_id = %q: want 32 hex digits", l.ClusterID)
	}
	if l.RunDir == "" {
		l.RunDir = runDirName(l.ClusterID)
	}
	var err error
	if l.RunDir, err = filepath.Abs(l.RunDir); err != nil {
		return l, fmt.Errorf("run directory: %w", err)
	}
	if shared.RunDir = ""; shared.Provider == "shm" {
		shared.RunDir = filepath.Join(l.RunDir, "m", "run")
	}
	if len(shared.RunDir) > config.RunDirMax {
		return l, fmt.Errorf("run directory %s is too long: want at most %d characters", l.RunDir, config.RunDirMax-len("/m/run"))
	}
	return l, nil
}

func at(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// addresses lists everything that the nodes will listen on.
func (l *Layout) addresses(shards int) (all []string) {
	for i := range l.Nodes {
		all = append(all, at(l.RespPort+i), at(l.AdminPort+i))
		if l.ControlPort != 0 {
			all = append(all, at(l.ControlPort+i))
		}
		for k := range shards {
			if l.DataPort != 0 {
				all = append(all, at(l.DataPort+i*shards+k))
			}
		}
	}
	return all
}

// certValid is how long the certificates of a cluster on this machine are
// valid: nobody renews them.
const certValid = 10 * 365 * 24 * time.Hour

// network gives node i its addresses and names its files.
func (l *Layout) network(n *config.Config, i int) {
	if l.ControlPort == 0 {
		return
	}
	var peers []string
	for k := range l.Nodes {
		peers = append(peers, at(l.ControlPort+k))
	}
	n.Control = config.Control{Listen: at(l.ControlPort + i), Peers: strings.Join(peers, ",")}
	f := identity.MadeFiles("tls") // relative to the node's file
	n.TLS = config.TLS{CA: f.CA, Cert: f.Cert, Key: f.Key}
	if l.DataPort != 0 {
		n.Data.Listen = at(l.DataPort + i*n.Shards)
	}
}

// certificates makes those of all nodes, with an authority of their own.
func (l *Layout) certificates(dir string) error {
	if l.ControlPort == 0 {
		return nil
	}
	_, _, err := identity.Make(identity.MakeOptions{Dir: filepath.Join(dir, authorityName), Cluster: l.ClusterID, Nodes: l.Nodes,
		NodeDir: func(i int) string { return filepath.Join(dir, fmt.Sprintf("node-%d", i), "tls") }, Valid: certValid, Now: time.Now()})
	return err
}

// deviceOf is node i's part of verbs.device: a list names one for each node, as
// if each were a host with its own.
func deviceOf(list string, i, nodes int) (string, error) {
	devices := strings.Split(list, ",")
	if len(devices) == 1 {
		return list, nil
	}
	if len(devices) != nodes {
		return "", fmt.Errorf("verbs.device = %q: %d devices for %d nodes; name one, or one for each node", list, len(devices), nodes)
	}
	return strings.TrimSpace(devices[i]), nil
}

// makeNodes writes the nodes' files and formats their pools, two at a time:
// more would only compete for one disk or one memory bus.
func (o *Options) makeNodes(dir string, l *Layout, shared *config.Config, inMemory bool) error {
	for i := range l.Nodes {
		n := *shared
		n.Node = i
		n.Resp.Listen, n.Admin.Listen = at(l.RespPort+i), at(l.AdminPort+i)
		n.Resp.Socket = filepath.Join(l.RunDir, "m", fmt.Sprintf("resp-%d.sock", i))
		l.network(&n, i)
		device, err := deviceOf(shared.Verbs.Device, i, l.Nodes)
		if err != nil {
			return err
		}
		n.Verbs.Device = device
		n.PoolDir, n.StateDir = "pool", "state"
		n.IndexDir = filepath.Join(l.RunDir, "m", fmt.Sprintf("index-%d", i))
		if inMemory {
			n.PoolDir = filepath.Join(l.RunDir, "m", fmt.Sprintf("pool-%d", i))
		}
		node := filepath.Join(dir, fmt.Sprintf("node-%d", i))
		for _, d := range []string{node, filepath.Join(node, "state")} {
			if err := os.Mkdir(d, 0o700); err != nil {
				return fmt.Errorf("cluster directory: %w", err)
			}
		}
		if err := config.WriteFile(filepath.Join(node, "node.toml"), config.Text(&n)); err != nil {
			return err
		}
	}
	if err := l.certificates(dir); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, l.Nodes)
	slots := make(chan struct{}, 2)
	for i := range l.Nodes {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			s := config.New()
			if errs[i] = s.File(filepath.Join(dir, fmt.Sprintf("node-%d", i), "node.toml")); errs[i] != nil {
				return
			}
			if errs[i] = s.Validate(); errs[i] != nil {
				return
			}
			if err := o.Format(&s.Config); err != nil {
				errs[i] = fmt.Errorf("node %d: %w", i, err)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err // the others fail for the same reason
		}
	}
	return nil
}

// remove deletes what Create makes, and the directory itself if all is set and
// nothing else lies in it.
func remove(dir, runDir string, all bool) error {
	if err := removeRunDir(runDir, dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cluster directory: %w", err)
	}
	for _, e := range entries {
		// The lock goes last: it is what keeps others out until then.
		if !ours(e.Name()) || e.Name() == lockName {
			all = all && e.Name() == lockName
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("cluster directory: %w", err)
		}
	}
	if !all {
		return nil
	}
	return os.RemoveAll(dir)
}

// Destroy removes a cluster, its data and what it has in memory. It refuses
// while a process of it runs.
func Destroy(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("cluster directory: %w", err)
	}
	l, err := readLayout(dir)
	if err != nil {
		return err
	}
	lock, err := take(filepath.Join(dir, lockName), dir, 0)
	if err != nil {
		return fmt.Errorf("%w; stop it first", err)
	}
	defer lock.Release()
	c := &Cluster{Dir: dir, Layout: l}
	for i, pid := range c.Running() {
		return fmt.Errorf("node %d of %s: %w (process %s); stop it first", i, dir, ErrRunning, pid)
	}
	return remove(dir, l.RunDir, true)
}
