// Command mayfly is an internal certificate authority: server and client in one program.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the linker for releases (make build).
var version string

func main() {
	// The first SIGINT or SIGTERM ends ctx, and stop gives the second one back to the system, which
	// ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// Exit codes: 1 for what went wrong while running, 2 for a wrong command line.
const (
	exitFailed = 1
	exitUsage  = 2
)

func run(ctx context.Context, args []string, std streams) int {
	var commands commands
	parser, err := kong.New(&commands, kong.Name("mayfly"), kong.Writers(std.out, std.err),
		kong.Description("An internal certificate authority: ACME, REST and a console in one program."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(std))
	if err != nil {
		return complain(std.err, err, exitFailed)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return complain(std.err, fmt.Errorf("%w: see mayfly --help", err), exitUsage)
	}
	if err := parsed.Run(); err != nil {
		return complain(std.err, err, exitFailed)
	}
	return 0
}

// complain prints an error, one problem to a line, and gives the exit code back.
func complain(to io.Writer, err error, code int) int {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(to, "mayfly: %s\n", strings.TrimRight(line, "\n"))
	}
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return code
}

// errUsage marks a wrong command line that only the command itself could notice.
var errUsage = errors.New("see --help")
