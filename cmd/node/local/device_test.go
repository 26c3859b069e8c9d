package local

import (
	"strings"
	"testing"
)

func TestDeviceOf(t *testing.T) {
	for _, c := range []struct {
		list  string
		i, of int
		want  string
	}{{"", 2, 6, ""}, {"mlx5_0", 2, 6, "mlx5_0"}, {"rxe0, rxe1,rxe2", 1, 3, "rxe1"}, {"rxe0,rxe1,rxe2", 2, 3, "rxe2"}} {
		if got, err := deviceOf(c.list, c.i, c.of); err != nil || got != c.want {
			t.Errorf("%q, node %d of %d: %q, %v", c.list, c.i, c.of, got, err)
		}
	}
	if _, err := deviceOf("rxe0,rxe1", 0, 3); err == nil || !strings.Contains(err.Error(), "2 devices for 3 nodes") {
		t.Error(err)
	}
}
