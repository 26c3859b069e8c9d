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
	"sync"

	"healkv/cmd/node/config"
)

// Options say what cluster to make.
type Options struct {
	Dir       string
	RespPort  int
	AdminPort int
	Source    *config.Source // of what all nodes have in common, nodes included
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
			return fmt.Errorf("%w; stop what listens there, or choose other ports with --resp-port and --admin-port", err)
		}
		_ = l.Close()
	}
	return nil
}

func checkPortRanges(o *Options, nodes int) error {
	for _, p := range []struct {
		flag string
		port int
	}{{"--resp-port", o.RespPort}, {"--admin-port", o.AdminPort}} {
		if p.port < 1 || p.port+nodes-1 > 65535 {
			return fmt.Errorf("%s %d: want a port from 1 to %d, as %d nodes take one each from there on", p.flag, p.port, 65535-nodes+1, nodes)
		}
	}
	if d := o.RespPort - o.AdminPort; -nodes < d && d < nodes {
		return fmt.Errorf("--resp-port %d and --admin-port %d: the ports of %d nodes overlap; leave at least %d between them", o.RespPort, o.AdminPort, nodes, nodes)
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
	if err := checkPortRanges(&o, nodes); err != nil {
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
	var addresses []string
	for i := range nodes {
		addresses = append(addresses, at(l.RespPort+i), at(l.AdminPort+i))
	}
	if err := checkPorts(addresses); err != nil {
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
		RespPort: o.RespPort, AdminPort: o.AdminPort, RunDir: shared.RunDir}
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
	shared.RunDir = filepath.Join(l.RunDir, "m", "run")
	if len(shared.RunDir) > config.RunDirMax {
		return l, fmt.Errorf("run directory %s is too long: want at most %d characters", l.RunDir, config.RunDirMax-len("/m/run"))
	}
	return l, nil
}

func at(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// makeNodes writes the nodes' files and formats their pools, two at a time:
// more would only compete for one disk or one memory bus.
func (o *Options) makeNodes(dir string, l *Layout, shared *config.Config, inMemory bool) error {
	for i := range l.Nodes {
		n := *shared
		n.Node = i
		n.Resp.Listen, n.Admin.Listen = at(l.RespPort+i), at(l.AdminPort+i)
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
