package floor

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

const childWord = "child of floor"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childWord {
		if err := Child(os.Args[2:]); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func options(t *testing.T) Options {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Options{Disk: t.TempDir(), Time: 2 * time.Millisecond, Runs: 1, Child: []string{exe, childWord}}
}

// Every floor gives a figure above zero, or says what is missing.
func TestMeasure(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: touches gigabytes; run without -short")
	}
	figures, err := Measure(context.Background(), options(t))
	if err != nil {
		t.Fatal(err)
	}
	measured := 0
	for _, f := range figures {
		if f.Missing != "" {
			t.Logf("%s: %s", f.Name, f.Missing)
			continue
		}
		if f.Median <= 0 || f.Low > f.Median || f.Median > f.High {
			t.Errorf("%s: %v", f.Name, f)
		}
		measured++
	}
	if len(figures) != len(floors) || measured == 0 {
		t.Fatalf("%d figures of %d floors, %d measured", len(figures), len(floors), measured)
	}
	t.Logf("%d floors measured", measured)
	var table strings.Builder
	Write(&table, figures)
	for _, name := range Names() {
		if !strings.Contains(table.String(), name) {
			t.Errorf("the table lacks %q", name)
		}
	}
	if left, _ := os.ReadDir("/dev/shm"); left != nil {
		for _, e := range left {
			if strings.HasPrefix(e.Name(), "healkv-floor-") {
				t.Errorf("left behind: %s", e.Name())
			}
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Time: time.Hour}, {Runs: -1}, {Only: "no such floor"}} {
		if _, err := Measure(context.Background(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, args := range [][]string{nil, {"spin"}, {"fly", "/"}, {"write", "/", "1", "x", "1", "1", "1"}, {"write", "/", "9", "9", "1", "1", "1"}} {
		if err := Child(args); !errors.Is(err, ErrOptions) {
			t.Errorf("%q: %v", args, err)
		}
	}
	o := options(t)
	o.Child, o.Only = nil, "spinning"
	figures, err := Measure(context.Background(), o)
	if err != nil || figures[0].Missing == "" {
		t.Errorf("a floor of two processes without a second one: %v %v", figures, err)
	}
}

// A second process that never answers ends the measurement with an error.
func TestSilentChild(t *testing.T) {
	o := options(t)
	o.Child, o.Only = []string{"true"}, "sleeping"
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := Measure(ctx, o); !errors.Is(err, errNoAnswer) {
		t.Fatal(err)
	}
}
