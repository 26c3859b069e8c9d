package ibverbs

import "testing"

func TestMTU(t *testing.T) {
	for e, bytes := range []int{0, 256, 512, 1024, 2048, 4096, 0} {
		if MTU(e) != bytes {
			t.Errorf("enum %d is %d bytes, want %d", e, MTU(e), bytes)
		}
		if bytes > 0 && MTUEnum(bytes) != e {
			t.Errorf("%d bytes are enum %d, want %d", bytes, MTUEnum(bytes), e)
		}
	}
	if MTUEnum(1500) != 0 || MTU(-1) != 0 {
		t.Error("an MTU that verbs does not have")
	}
}

func TestEveryStatusHasAText(t *testing.T) {
	seen := map[string]bool{}
	for s := range Statuses + 1 {
		if text := s.String(); text == "" || seen[text] {
			t.Errorf("status %d: %q", s, text)
		} else {
			seen[text] = true
		}
	}
}
