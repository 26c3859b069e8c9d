package doctor

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Table writes a report for people: a line for each check, and under it what to
// do where something is missing.
func (r *Report) Table(w io.Writer) error {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for i := range r.Checks {
		c := &r.Checks[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.State, c.Area, c.Name, c.Found)
		if c.Advice != "" {
			fmt.Fprintf(t, "\t\t\t→ %s\n", c.Advice)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&text, "\n%d checks: %d gaps", len(r.Checks), r.Gaps())
	if n := r.Failures(); n > 0 {
		fmt.Fprintf(&text, ", %d of what was asked for cannot be had", n)
	}
	text.WriteString("\n")
	_, err := io.WriteString(w, text.String())
	return err
}
