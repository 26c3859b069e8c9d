package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// num shows a figure with three significant digits and thousands apart.
func num(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 1000:
		return group(strconv.FormatFloat(math.Round(v), 'f', 0, 64))
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a == 0:
		return "0"
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// group puts thin spaces between thousands.
func group(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteString("\u202f")
		}
		b.WriteRune(c)
	}
	return sign + b.String()
}

func count(n uint64) string { return group(strconv.FormatUint(n, 10)) }

// duration of ms with a fitting unit.
func duration(ms float64) string {
	switch a := math.Abs(ms); {
	case a == 0:
		return "0 ms"
	case a < 1:
		return num(ms*1000) + " µs"
	case a < 1000:
		return num(ms) + " ms"
	}
	return num(ms/1000) + " s"
}

// micros of a histogram are whole below a millisecond.
func micros(us uint64) string {
	if us < 1000 {
		return strconv.FormatUint(us, 10) + " µs"
	}
	return duration(float64(us) / 1000)
}

// byteSize in decimal units.
func byteSize(n uint64) string {
	v, units := float64(n), []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for v >= 1000 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	return num(v) + " " + units[i]
}

func percent(p float64) string {
	s := fmt.Sprintf("%+.1f %%", p)
	if s == "-0.0 %" || s == "+0.0 %" {
		return "±0 %"
	}
	return strings.Replace(s, "-", "−", 1)
}

// perSecond of operations.
func perSecond(v float64) string {
	switch {
	case v >= 1e6:
		return num(v/1e6) + " M/s"
	case v >= 10_000:
		return num(v/1e3) + " k/s"
	}
	return num(v) + " /s"
}

// plural of a word, unless there is one.
func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
