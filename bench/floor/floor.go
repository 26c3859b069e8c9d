package floor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Options of a measurement. The zero value of a field means its default.
type Options struct {
	Memory string        // a folder on tmpfs; default /dev/shm
	Disk   string        // a folder on the file system whose flush is measured; default os.TempDir()
	Time   time.Duration // of one measurement; default 200 ms
	Runs   int           // measurements of each floor; default 5
	Only   string        // floors whose name contains this; default all
	// Exactly is the name of the one floor that is measured; default all.
	Exactly string

	// Child is the command that ends up in Child, without the arguments that
	// Measure appends. Needed for floors of several processes.
	Child []string
}

// Figure is one floor: what it is, and what the runs gave.
type Figure struct {
	Name string  `json:"name"`
	Unit string  `json:"unit"`
	Low  float64 `json:"low"`
	// Median of the runs.
	Median float64 `json:"median"`
	High   float64 `json:"high"`
	About  string  `json:"about"`
	// Missing says why there is no figure; the others are zero then.
	Missing string `json:"missing,omitempty"`
}

// ErrOptions is wrapped by errors about Options.
var ErrOptions = errors.New("floor: options")

// errMissing is wrapped where this machine has not what a floor needs.
var errMissing = errors.New("not measured")

// floor is one thing to be measured. run returns one measurement.
type floor struct {
	name, unit, about string
	run               func(ctx context.Context, o *Options) (float64, error)
}

// floors in the order they are shown.
var floors = slices.Concat(memoryFloors, flushFloors, processFloors)

// Names of all floors, in order.
func Names() []string {
	var names []string
	for _, f := range floors {
		names = append(names, f.name)
	}
	return names
}

// Measure runs the floors one after the other, all of them once, then all of
// them again, so that a machine that gets slower meanwhile spoils none of them
// alone. What this machine lacks is in Missing; an error is anything else.
func Measure(ctx context.Context, o Options) ([]Figure, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	var chosen []floor
	for _, f := range floors {
		if strings.Contains(f.name, o.Only) && (o.Exactly == "" || o.Exactly == f.name) {
			chosen = append(chosen, f)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%w: no floor's name contains %q; there are: %s", ErrOptions, o.Only+o.Exactly, strings.Join(Names(), ", "))
	}
	runs := make([][]float64, len(chosen))
	figures := make([]Figure, len(chosen))
	for i, f := range chosen {
		figures[i] = Figure{Name: f.name, Unit: f.unit, About: f.about}
	}
	for range o.Runs {
		for i, f := range chosen {
			if figures[i].Missing != "" {
				continue
			}
			v, err := f.run(ctx, &o)
			switch {
			case errors.Is(err, errMissing):
				figures[i].Missing = err.Error()
			case err != nil:
				return nil, fmt.Errorf("floor %q: %w", f.name, err)
			default:
				runs[i] = append(runs[i], v)
			}
		}
	}
	for i := range figures {
		if r := runs[i]; figures[i].Missing == "" {
			slices.Sort(r)
			figures[i].Low, figures[i].Median, figures[i].High = r[0], r[len(r)/2], r[len(r)-1]
		}
	}
	return figures, nil
}

func (o *Options) complete() error {
	if o.Memory == "" {
		o.Memory = "/dev/shm"
	}
	if o.Disk == "" {
		o.Disk = os.TempDir()
	}
	if o.Time == 0 {
		o.Time = 200 * time.Millisecond
	}
	if o.Runs == 0 {
		o.Runs = 5
	}
	switch {
	case o.Time < time.Millisecond || o.Time > time.Minute:
		return fmt.Errorf("%w: %v for one measurement; 1 ms to 1 min", ErrOptions, o.Time)
	case o.Runs < 1 || o.Runs > 1000:
		return fmt.Errorf("%w: %d runs; 1 to 1000", ErrOptions, o.Runs)
	}
	return nil
}

// Write prints the figures as a table.
func Write(w io.Writer, figures []Figure) {
	fmt.Fprintf(w, "%-50s %12s %12s %12s  %s\n", "floor", "median", "low", "high", "unit")
	for _, f := range figures {
		if f.Missing != "" {
			fmt.Fprintf(w, "%-50s %s\n", f.Name, f.Missing)
			continue
		}
		fmt.Fprintf(w, "%-50s %12s %12s %12s  %s\n", f.Name, number(f.Median), number(f.Low), number(f.High), f.Unit)
	}
}

// number with three digits that count, or whole.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// perOperation calls fn, which does n operations, until the time is over and
// returns nanoseconds per operation. The first call is not counted.
func perOperation(o *Options, n int, fn func()) float64 {
	fn()
	begun, count := time.Now(), 0
	for {
		fn()
		count += n
		if took := time.Since(begun); took >= o.Time {
			return float64(took.Nanoseconds()) / float64(count)
		}
	}
}
