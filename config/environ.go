package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Variables of ours that are not settings of the server.
func otherVariables() []string {
	return []string{"MAYFLY_PASSPHRASE_FILE", "MAYFLY_URL", "MAYFLY_ROOT", "MAYFLY_TOKEN"}
}

func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, line := range environ {
		name, text, _ := strings.Cut(line, "=")
		env[name] = text
	}
	return env
}

// parseEnvironment picks the settings out of the environment. An empty variable counts as not set:
// container tools pass on "${X:-}". A MAYFLY_ variable that means nothing is refused, because a
// misspelt setting must not be silently left out.
func parseEnvironment(env map[string]string) (map[string]value, error) {
	byVariable := map[string]string{}
	for _, k := range keys() {
		byVariable[EnvName(k.name)] = k.name
	}
	known := slices.Concat(slices.Sorted(maps.Keys(byVariable)), otherVariables())
	settings := map[string]value{}
	var problems []error
	for _, variable := range slices.Sorted(maps.Keys(env)) {
		text := env[variable]
		name, isKey := byVariable[variable]
		switch {
		case !strings.HasPrefix(variable, "MAYFLY_") || text == "":
		case isKey:
			settings[name] = value{text, variable}
		case slices.Contains(known, variable), strings.HasPrefix(variable, "MAYFLY_TEST_"),
			isServiceLink(variable, text):
		default:
			problems = append(problems, fmt.Errorf("%s: unknown variable%s", variable,
				suggest(variable, known, "unset it")))
		}
	}
	return settings, errors.Join(problems...)
}

// isServiceLink recognises what Kubernetes puts into every pod's environment for each service: one
// that is named "mayfly" or "mayfly-postgres" must not keep the program from starting.
func isServiceLink(variable, text string) bool {
	return regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|`+
		`_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`).MatchString(variable) ||
		strings.HasSuffix(variable, "_PORT") &&
			regexp.MustCompile(`^(tcp|udp|sctp)://`).MatchString(text)
}

func suggestKey(name string) string {
	var names []string
	for _, k := range keys() {
		names = append(names, k.name)
	}
	return suggest(name, names, "remove it")
}

// suggest ends the sentence about an unknown word: the nearest known one, or what else to do.
func suggest(word string, known []string, otherwise string) string {
	best, least := "", len(word)/3+1
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ": " + otherwise
	}
	return fmt.Sprintf(": did you mean %s?", best)
}

// distance counts the insertions, deletions and replacements that turn a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
