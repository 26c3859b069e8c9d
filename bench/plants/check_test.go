package plants

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"healkv/bench/tally"
	"healkv/dataplane/plant"
)

const root = "../.."

// check is something that can notice a bug: a test binary and its arguments.
type check struct {
	pkg  string // folder from the root
	run  string // -test.run
	args string // further arguments, separated by blanks
	env  string // one variable more, or none
	race bool
	long bool   // without -test.short
	says string // what its output has when it noticed a bug, besides that it failed; "": nothing in particular
	seed string // argument that repeats one seed: without a bug only the failing one is run, as all take long
}

func (c check) name() string {
	s := c.pkg + " " + c.run
	if c.race {
		s += " -race"
	}
	if c.args != "" {
		s += " " + c.args
	}
	return s
}

// command is what a person types to see it.
func (c check) command(bugs string) string {
	s := "HEALKV_PLANT=" + bugs + " go test -count=1 -tags plant ./" + c.pkg + " -run '" + c.run + "'"
	if c.race {
		s = strings.Replace(s, "go test", "go test -race", 1)
	}
	if !c.long {
		s += " -short"
	}
	if c.args != "" {
		s += " " + c.args
	}
	return s
}

// unit is the tests of a package, or those named.
func unit(pkg string, tests ...string) check {
	run := "."
	if len(tests) > 0 {
		run = "^(" + strings.Join(tests, "|") + ")$"
	}
	return check{pkg: pkg, run: run}
}

// binaries builds each test binary once.
type binaries struct {
	dir string
	mu  sync.Mutex
	of  map[string]*binary

	passed map[check]bool // what innocent has seen
}

type binary struct {
	once sync.Once
	path string
	err  error
}

func (b *binaries) get(c *check) (string, error) {
	key := fmt.Sprintf("%s-%v", strings.ReplaceAll(c.pkg, "/", "-"), c.race)
	b.mu.Lock()
	x := b.of[key]
	if x == nil {
		x = &binary{path: filepath.Join(b.dir, key)}
		b.of[key] = x
	}
	b.mu.Unlock()
	x.once.Do(func() {
		args := []string{"test", "-c", "-tags", "plant", "-o", x.path}
		if c.race {
			args = append(args, "-race")
		}
		cmd := exec.Command("go", append(args, "./"+c.pkg)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			x.err = fmt.Errorf("building the tests of %s: %w\n%s", c.pkg, err, out)
		}
	})
	return x.path, x.err
}

// innocent says whether a check with seeds passes without a bug at the seed of
// a failure with one: else that proves nothing.
func (b *binaries) innocent(c *check, o *outcome, limit time.Duration) error {
	seed := strings.TrimPrefix(seedOf(o.output), "seed ")
	x := *c
	x.args = c.seed + " " + seed
	if seed == "" {
		return fmt.Errorf("%s names no seed:\n%s", c.name(), o.output)
	}
	b.mu.Lock()
	done := b.passed[x]
	b.mu.Unlock()
	if done {
		return nil
	}
	without, err := b.run(&x, "", limit)
	if err == nil && (without.failed || without.hung) {
		err = fmt.Errorf("%s fails without any bug: %s\n\t%s", x.name(), without.says, x.command(""))
	}
	b.mu.Lock()
	b.passed[x] = err == nil
	b.mu.Unlock()
	return err
}

// outcome of one check against one choice of bugs.
type outcome struct {
	failed bool // the check noticed something
	clear  bool // it failed and says what it must say
	hung   bool // it had to be ended: then failed is false
	took   time.Duration
	says   string // the first line that says what was wrong
	output string
}

// run executes a check with bugs planted, "" for none.
func (b *binaries) run(c *check, bugs string, limit time.Duration) (o outcome, err error) {
	path, err := b.get(c)
	if err != nil {
		return o, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit+5*time.Second)
	defer cancel()
	args := []string{"-test.run=" + c.run, "-test.count=1", "-test.failfast", "-test.timeout=" + limit.String()}
	if !c.long {
		args = append(args, "-test.short")
	}
	if c.run == "." {
		args = append(args, "-test.skip=Allocat|PlantedRace|Simulat|TestFailoverOfProcesses|TestTwoProcesses|TestStoppedProcess|UnderLoad") // what other processes do shows there; what builds again has its own row
	}
	cmd := exec.CommandContext(ctx, path, append(args, strings.Fields(c.args)...)...)
	cmd.Dir = filepath.Join(root, c.pkg)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	for _, v := range os.Environ() {
		// What a check with a bug in it counts is nothing to be proud of.
		if !strings.HasPrefix(v, tally.Variable+"=") && !strings.HasPrefix(v, "HEALKV_PLANT=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "HEALKV_PLANT="+bugs)
	if c.env != "" {
		cmd.Env = append(cmd.Env, c.env)
	}
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	o.took, o.output = time.Since(begun), string(out)
	var exit *exec.ExitError
	switch {
	case err == nil:
		if !strings.Contains(o.output, "PASS") || strings.Contains(o.output, "no tests to run") {
			return o, fmt.Errorf("%s ran nothing:\n%s", c.name(), o.output)
		}
		return o, nil
	case !errors.As(err, &exit):
		return o, fmt.Errorf("%s: %w", c.name(), err)
	}
	if strings.Contains(o.output, "flag provided but not defined") || strings.Contains(o.output, "no such bug") {
		return o, fmt.Errorf("%s did not run:\n%s", c.name(), o.output)
	}
	// A check that does not end has noticed nothing: it might be slow.
	o.hung = strings.Contains(o.output, "panic: test timed out") || ctx.Err() != nil
	o.failed = !o.hung
	o.clear = o.failed && strings.Contains(o.output, c.says)
	o.says = saying(o.output)
	return o, nil
}

var complaint = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (.*)$|^panic: (.*?)(?: \[recovered.*)?$|^(WARNING: DATA RACE)`)

// saying is the first line that tells what a failed test did not like: the
// last that it printed before it gave up, as logs come first.
func saying(output string) string {
	at := strings.Index(output, "--- FAIL")
	if at < 0 {
		at = 0
	}
	m := complaint.FindStringSubmatch(output[at:])
	if m == nil {
		if m = complaint.FindStringSubmatch(output); m == nil {
			return ""
		}
	}
	s := strings.TrimSpace(m[1] + m[2] + m[3])
	if len(s) > 120 {
		s = s[:120] + "…"
	}
	return s
}

// failing is the name of the test that failed, "" if the process broke down.
func failing(output string) string {
	if m := regexp.MustCompile(`(?m)^--- FAIL: (\w+)`).FindStringSubmatch(output); m != nil {
		return m[1]
	}
	if m := regexp.MustCompile(`healkv/\S+\.(Test\w+)`).FindStringSubmatch(output); m != nil {
		return m[1]
	}
	return ""
}

// Both halves of the build tag must be the whole story: in a product there is
// nothing to ask.
func TestNothingIsPlantedInAProduct(t *testing.T) {
	if plant.On {
		t.Skip("this is a build in which bugs can be planted")
	}
	for _, b := range plant.All {
		if plant.Is(b) || plant.At(b, 0) {
			t.Errorf("%s is planted", b)
		}
	}
}

// The compiler has removed every question: neither the package nor the name of
// any bug is in the program that ships.
func TestProductKnowsOfNoBug(t *testing.T) {
	if testing.Short() {
		t.Log("left out: builds the program; runs without -short")
		return
	}
	program := filepath.Join(t.TempDir(), "node")
	cmd := exec.Command("go", "build", "-o", program, "./cmd/node")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range plant.All {
		if strings.Contains(string(b), "-") && bytes.Contains(text, []byte(b)) {
			t.Errorf("%q is in the program", b)
		}
	}
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for i := range symbols {
		if strings.Contains(symbols[i].Name, "dataplane/plant.") {
			t.Errorf("%s is in the program", symbols[i].Name)
		}
	}
	t.Logf("%d symbols, %d names of bugs", len(symbols), len(plant.All))
}

var seeded = regexp.MustCompile(`seed (\d+)(?:[,:]| \()`)

// seedOf is the first seed that a failure names, "" if it names none.
func seedOf(output string) string {
	if at := strings.Index(output, "--- FAIL"); at >= 0 {
		if m := seeded.FindStringSubmatch(output[at:]); m != nil {
			return "seed " + m[1]
		}
	}
	return ""
}
