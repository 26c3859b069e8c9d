package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"healkv/cmd/node/config"
)

// layoutVersion changes when the files of a cluster directory change their
// meaning.
const layoutVersion = 1

var (
	// ErrNotCluster means that a directory is not one that Create made.
	ErrNotCluster = errors.New("not a cluster directory")
	// ErrUnfinished means that making the cluster was interrupted.
	ErrUnfinished = errors.New("the cluster was never finished")
	// ErrDiffers means that a setting contradicts the cluster as it was made.
	ErrDiffers = errors.New("the cluster was made otherwise")
	// ErrRunning means that a process of the cluster still runs.
	ErrRunning = errors.New("still running")
)

// Layout is cluster.toml.
type Layout struct {
	Version   int    `toml:"layout"`
	Complete  bool   `toml:"complete"` // all pools were made; false after an interrupted start
	ClusterID string `toml:"cluster_id"`
	Nodes     int    `toml:"nodes"`
	RespPort  int    `toml:"resp_port"`
	AdminPort int    `toml:"admin_port"`
	// Of providers between hosts; 0 with shm.
	ControlPort int    `toml:"control_port"`
	DataPort    int    `toml:"data_port"`
	RunDir      string `toml:"run_dir"` // R
}

// Cluster is an opened cluster directory.
type Cluster struct {
	Dir string // absolute
	Layout
	Configs []config.Config // one per node
}

// NodeDir is the directory of node i.
func (c *Cluster) NodeDir(i int) string { return filepath.Join(c.Dir, fmt.Sprintf("node-%d", i)) }

// ConfigPath is the configuration file of node i.
func (c *Cluster) ConfigPath(i int) string { return filepath.Join(c.NodeDir(i), "node.toml") }

// LogPath is where node i's standard error goes.
func (c *Cluster) LogPath(i int) string { return filepath.Join(c.NodeDir(i), "log") }

// authorityName is the directory with the authority that signs the nodes'
// certificates; a node's own are in node-i/tls.
const authorityName = "authority"

func layoutPath(dir string) string { return filepath.Join(dir, "cluster.toml") }

func (l *Layout) write(dir string) error {
	return config.WriteFile(layoutPath(dir), fmt.Sprintf(
		"# Made by `node cluster`; the settings of a node are in node-i/node.toml.\n"+
			"layout = %d\ncomplete = %v\ncluster_id = %s\nnodes = %d\nresp_port = %d\nadmin_port = %d\ncontrol_port = %d\ndata_port = %d\nrun_dir = %s\n",
		l.Version, l.Complete, config.Quote(l.ClusterID), l.Nodes, l.RespPort, l.AdminPort, l.ControlPort, l.DataPort, config.Quote(l.RunDir)))
}

// Exists tells whether dir holds a cluster. A missing or empty directory is
// none; a directory with other things in it is an error, so that nothing of
// somebody else's is mixed with ours.
func Exists(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("cluster directory: %w; name another with --dir", err)
	}
	var foreign string
	for _, e := range entries {
		switch {
		case e.Name() == "cluster.toml":
			return true, nil
		case e.Name() != lockName:
			foreign = e.Name()
		}
	}
	if foreign != "" {
		return false, fmt.Errorf("%w: %s holds %s but no cluster.toml; name a new or empty directory with --dir", ErrNotCluster, dir, foreign)
	}
	return false, nil
}

// readLayout reads and checks cluster.toml.
func readLayout(dir string) (Layout, error) {
	var l Layout
	path := layoutPath(dir)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, fmt.Errorf("%w: %s does not exist; `node cluster --dir %s` makes a cluster", ErrNotCluster, path, dir)
	}
	if err != nil {
		return l, fmt.Errorf("cluster directory: %w", err)
	}
	if err := config.Decode(path, text, &l); err != nil {
		return l, fmt.Errorf("%w; %s was made by another version of this program or edited", err, path)
	}
	switch {
	case l.Version != layoutVersion:
		return l, fmt.Errorf("%w: %s has layout %d, this program knows layout %d; use the program that made it, or another --dir", ErrNotCluster, path, l.Version, layoutVersion)
	case len(l.ClusterID) != 32 || l.Nodes < 1 || l.RunDir == "":
		return l, fmt.Errorf("%w: %s is damaged: cluster_id, nodes or run_dir is missing; put a copy back, or start its nodes one by one with `node serve --config %s`", ErrNotCluster, path, filepath.Join(filepath.Dir(path), "node-I", "node.toml"))
	}
	return l, nil
}

// Open reads a cluster directory and the configuration of every node.
func Open(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cluster directory: %w", err)
	}
	l, err := readLayout(dir)
	if err != nil {
		return nil, err
	}
	if !l.Complete {
		return nil, fmt.Errorf("%w: making %s was interrupted; `node cluster --dir %s` starts over", ErrUnfinished, dir, dir)
	}
	c := &Cluster{Dir: dir, Layout: l}
	for i := range l.Nodes {
		s := config.New()
		if err := s.File(c.ConfigPath(i)); err != nil {
			return nil, err
		}
		if err := s.Validate(); err != nil {
			return nil, err
		}
		n := s.Config
		if n.Node != i || n.Nodes != l.Nodes || n.ClusterID != l.ClusterID {
			return nil, fmt.Errorf("%w: %s is of node %d of %d of cluster %.8s…, %s expects node %d of %d of cluster %.8s…",
				ErrNotCluster, c.ConfigPath(i), n.Node, n.Nodes, n.ClusterID, layoutPath(dir), i, l.Nodes, l.ClusterID)
		}
		c.Configs = append(c.Configs, n)
	}
	return c, nil
}

// Agrees checks what was asked for against the cluster as it was made, and
// returns the given settings that may differ from run to run, as flags for
// `node serve`.
func (c *Cluster) Agrees(s *config.Source) (flags []string, err error) {
	for i := range config.Keys {
		k := &config.Keys[i]
		if !s.Given(k.Name) {
			continue
		}
		want, have := k.Text(&s.Config), k.Text(&c.Configs[0])
		switch {
		case want == have:
		case !k.Fixed:
			flags = append(flags, "--"+k.Flag()+"="+want)
		case k.Name == "run_dir", k.Name == "domain" && want == "auto":
		default:
			return nil, fmt.Errorf("%w: %s asks for %s = %s, %s has %s; leave it out, use another --dir, or remove the cluster with `node cluster --destroy --dir %s`",
				ErrDiffers, s.Origin(k.Name), k.Name, want, c.Dir, have, c.Dir)
		}
	}
	return flags, nil
}

// AgreesPorts checks the number of nodes and the ports likewise; 0 stands for
// not given.
func (c *Cluster) AgreesPorts(nodes int, want Ports) error {
	for _, p := range []struct {
		flag       string
		want, have int
	}{{"nodes", nodes, c.Nodes}, {"resp-port", want.Resp, c.RespPort}, {"admin-port", want.Admin, c.AdminPort},
		{"control-port", want.Control, c.ControlPort}, {"data-port", want.Data, c.DataPort}} {
		if p.want != 0 && p.want != p.have && p.have != 0 { // 0: its provider has no use for that port
			return fmt.Errorf("%w: --%s %d, but %s was made with --%s %d; leave it out, use another --dir, or remove the cluster with `node cluster --destroy --dir %s`",
				ErrDiffers, p.flag, p.want, c.Dir, p.flag, p.have, c.Dir)
		}
	}
	return nil
}

// ours tells whether a name in a cluster directory is one that we make.
func ours(name string) bool {
	return name == "cluster.toml" || name == authorityName || name == lockName || strings.HasPrefix(name, "node-") || strings.HasPrefix(name, ".new-")
}
