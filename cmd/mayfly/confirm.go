package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
)

// confirm asks a person at a terminal, unless yes was said already. The question is made only then;
// done says what did not happen if the answer is no.
func confirm(std streams, yes bool, done string, question func() (string, error)) error {
	terminal, ok := std.in.(*os.File)
	if yes || !ok || !isatty.IsTerminal(terminal.Fd()) {
		return nil
	}
	text, err := question()
	if err != nil {
		return err
	}
	fmt.Fprintf(std.err, "%s [y/N] ", text)
	answer, err := bufio.NewReader(std.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if word := strings.ToLower(strings.TrimSpace(answer)); word != "y" && word != "yes" {
		return errors.New("nothing was " + done)
	}
	return nil
}
