package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/go-zookeeper/zk"
)

// zookeeper is three ZooKeeper processes. A key is a node of the tree, below
// the root.
type zookeeper struct {
	group
	o      Options
	java   string
	client int // first port for clients
	peer   int // first port for followers
	elect  int // first port for elections
}

const zookeeperJar = "/usr/share/java/zookeeper.jar"

func newZooKeeper(o Options) (System, error) {
	java, err := find("java", "default-jre-headless")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(zookeeperJar); err != nil {
		return nil, fmt.Errorf("%w: %w; install it, as root: apt-get install zookeeper (make peers does)", ErrMissing, err)
	}
	return &zookeeper{o: o, java: java, group: group{dir: o.Dir}}, nil
}

func (z *zookeeper) About() About {
	a := About{
		Name: "zookeeper", Version: z.version(),
		Client:   "github.com/go-zookeeper/zk " + dependency("github.com/go-zookeeper/zk") + ", one connection per client, spread over the nodes",
		Answered: "in the logs of a majority",
		Reads:    "sync, then get: not older than the sync",
		Default:  "forceSync=yes",
	}
	a.Flush = "forceSync=yes: the log is flushed before a proposal is acknowledged"
	if z.o.Domain == Memory {
		a.Flush = "forceSync=no, on tmpfs"
	}
	return a
}

// version from the link beside the jar that names it.
func (z *zookeeper) version() string {
	names, err := filepath.Glob(strings.TrimSuffix(zookeeperJar, ".jar") + "-[0-9]*.jar")
	if err != nil || len(names) != 1 {
		return "unknown"
	}
	_, version, _ := strings.Cut(strings.TrimSuffix(names[0], ".jar"), "-")
	return version
}

func (z *zookeeper) Start(ctx context.Context) error {
	first, err := Ports(3 * Nodes)
	if err != nil {
		return err
	}
	z.client, z.peer, z.elect = first, first+Nodes, first+2*Nodes
	for node := range Nodes {
		if err := z.configure(node); err != nil {
			return err
		}
		if err := z.begin(node); err != nil {
			return err
		}
	}
	return firstTry(ctx, z, z.alive)
}

// configure writes the sample configuration of the package with our places.
func (z *zookeeper) configure(node int) error {
	conf := filepath.Join(z.dir, fmt.Sprintf("conf-%d", node))
	data := filepath.Join(z.dir, fmt.Sprintf("n%d", node))
	for _, d := range []string{conf, data} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	force := "yes"
	if z.o.Domain == Memory {
		force = "no"
	}
	text := fmt.Sprintf("tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\n"+
		"maxClientCnxns=0\nadmin.enableServer=false\nforceSync=%s\n", data, z.client+node, force)
	for i := range Nodes {
		text += fmt.Sprintf("server.%d=127.0.0.1:%d:%d\n", i+1, z.peer+i, z.elect+i)
	}
	logging := "log4j.rootLogger=WARN, CONSOLE\nlog4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender\n" +
		"log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout\nlog4j.appender.CONSOLE.layout.ConversionPattern=%d{ISO8601} %p %m%n\n"
	return errors.Join(
		os.WriteFile(filepath.Join(conf, "zoo.cfg"), []byte(text), 0o600),
		os.WriteFile(filepath.Join(conf, "log4j.properties"), []byte(logging), 0o600),
		os.WriteFile(filepath.Join(data, "myid"), fmt.Appendln(nil, node+1), 0o600))
}

func (z *zookeeper) begin(node int) error {
	conf := filepath.Join(z.dir, fmt.Sprintf("conf-%d", node))
	p, err := spawn(fmt.Sprintf("zookeeper node %d", node), filepath.Join(z.dir, fmt.Sprintf("log-%d", node)), syscall.SIGKILL, nil,
		z.java, "-Xmx1g", "-cp", conf+":"+zookeeperJar, "org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(conf, "zoo.cfg"))
	z.nodes[node] = p
	return err
}

type zkClient struct {
	conn *zk.Conn
	late *time.Timer // closes the connection under an operation that takes too long
}

type silent struct{}

func (silent) Printf(string, ...any) {}

func (z *zookeeper) Connect(ctx context.Context, node int) (Client, error) {
	conn, events, err := zk.Connect([]string{addr(z.client + node)}, 10*time.Second, zk.WithLogger(silent{}), zk.WithLogInfo(false))
	if err != nil {
		return nil, err
	}
	for {
		select {
		case <-ctx.Done():
			conn.Close()
			return nil, fmt.Errorf("zookeeper: no session at node %d: %w", node, ctx.Err())
		case e := <-events:
			if e.State == zk.StateHasSession {
				go func() { // the library's queue of events is bounded, and nobody listens
					for range events {
					}
				}()
				late := time.AfterFunc(OpPatience, conn.Close)
				late.Stop()
				return &zkClient{conn, late}, nil
			}
		}
	}
}

// At asks first whether the server serves: the library waits a second after a
// refusal.
func (z *zookeeper) At(ctx context.Context, node int) (Client, error) {
	if _, err := z.mode(ctx, node); err != nil {
		return nil, err
	}
	return z.Connect(ctx, node)
}

// mode asks with the four letters that are allowed by default.
func (z *zookeeper) mode(ctx context.Context, node int) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr(z.client+node))
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte("srvr")); err != nil {
		return "", err
	}
	text, err := io.ReadAll(c)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if mode, ok := strings.CutPrefix(line, "Mode: "); ok {
			return strings.TrimSpace(mode), nil
		}
	}
	return "", fmt.Errorf("%w: zookeeper node %d: %s", errReply, node, strings.TrimSpace(string(text)))
}

func (z *zookeeper) Follower(ctx context.Context) (int, error) {
	for node := Nodes - 1; node >= 0; node-- {
		mode, err := z.mode(ctx, node)
		if err != nil {
			return 0, err
		}
		if mode == "follower" {
			return node, nil
		}
	}
	return 0, fmt.Errorf("%w: no node says that it follows", errReply)
}

func (z *zookeeper) Kill(node int) error { return z.kill(node) }

func (z *zookeeper) Restart(_ context.Context, node int) error { return z.begin(node) }

func (z *zookeeper) Stop() error { return z.stop(syscall.SIGTERM) }

// The library takes no context.
func (c *zkClient) Write(_ context.Context, key string, value []byte) error {
	c.late.Reset(OpPatience)
	defer c.late.Stop()
	_, err := c.conn.Set("/"+key, value, -1)
	if errors.Is(err, zk.ErrNoNode) {
		_, err = c.conn.Create("/"+key, value, 0, zk.WorldACL(zk.PermAll))
		if errors.Is(err, zk.ErrNodeExists) { // another client was first
			_, err = c.conn.Set("/"+key, value, -1)
		}
	}
	return err
}

func (c *zkClient) Read(_ context.Context, key string) ([]byte, error) {
	c.late.Reset(OpPatience)
	defer c.late.Stop()
	if _, err := c.conn.Sync("/" + key); err != nil && !errors.Is(err, zk.ErrNoNode) {
		return nil, err
	}
	value, _, err := c.conn.Get("/" + key)
	if errors.Is(err, zk.ErrNoNode) {
		return nil, fmt.Errorf("%w: %s", ErrAbsent, key)
	}
	return value, err
}

func (c *zkClient) Close() error {
	c.late.Stop()
	c.conn.Close()
	return nil
}
