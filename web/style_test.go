package web_test

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every text can be read against what is behind it: a contrast of 4.5 at least (WCAG 2.2, 1.4.3), in
// light and in dark.
func TestContrast(t *testing.T) {
	style, err := os.ReadFile("assets/mayfly.css")
	if err != nil {
		t.Fatal(err)
	}
	light, rest, _ := strings.Cut(string(style), "@media (prefers-color-scheme: dark)")
	dark, _, _ := strings.Cut(rest, "*, ::before")
	for name, rules := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(rules, -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for _, pair := range [][2]string{
			{"ink", "paper"},
			{"ink", "card"},
			{"ink", "code"},
			{"soft", "paper"},
			{"soft", "card"},
			{"soft", "code"},
			{"accent", "paper"},
			{"accent", "card"},
			{"on-accent", "accent"},
			{"on-trial", "trial"},
		} {
			front, ok1 := colours[pair[0]]
			back, ok2 := colours[pair[1]]
			if contrast := (max(front, back) + .05) / (min(front, back) + .05); !ok1 || !ok2 || contrast < 4.5 {
				t.Errorf("%s: %s on %s has a contrast of %.1f", name, pair[0], pair[1], contrast)
			}
		}
	}
}

func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	linear := func(shift uint) float64 {
		c := float64(n>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(16) + 0.7152*linear(8) + 0.0722*linear(0)
}
