package main

import (
	"context"
	"fmt"
	"os"

	"github.com/mayflyca/mayfly/config"
)

// commands is the command line. Each command's Run is called with what run binds.
type commands struct {
	Serve   serveCommand   `cmd:"" help:"Run the CA. The first start makes everything it needs."`
	Cert    certCommands   `cmd:"" help:"Issue, list, show and revoke certificates of a running CA."`
	EAB     eabCommands    `cmd:"" name:"eab" help:"Keys for external account binding of ACME accounts."`
	ACME    acmeCommands   `cmd:"" name:"acme" help:"See and rule ACME accounts, orders and grants."`
	Ready   readyCommand   `cmd:"" help:"Ask the server on this machine whether it can issue."`
	Version versionCommand `cmd:"" help:"Tell which version this is."`
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(std streams) error {
	_, err := fmt.Fprintln(std.out, "mayfly", programVersion())
	return err
}

// serveCommand has flags for what differs from one start to the next; everything else is in the
// file or in the environment. A flag that was not given is nil.
type serveCommand struct {
	Config        string  `help:"YAML configuration file. Without one, this is a trial." placeholder:"FILE"`
	DataDir       *string `help:"Where keys and the SQLite database are (./mayfly-data)." placeholder:"DIR"`
	DatabaseURL   *string `name:"database-url" help:"postgres://… instead of SQLite." placeholder:"URL"`
	Listen        *string `help:"HTTPS: ACME, REST, console (:8443)." placeholder:"HOST:PORT"`
	ExternalURL   *string `name:"external-url" help:"How clients reach it (from --listen)." placeholder:"URL"`
	PublishListen *string `help:"Plain HTTP: roots, issuers, CRLs (:8080)." placeholder:"HOST:PORT"`
	MetricsListen *string `help:"Prometheus metrics (127.0.0.1:8081)." placeholder:"HOST:PORT"`
	startOptions
}

// startOptions are for one start, so no configuration has them.
type startOptions struct {
	NoMigrate     bool `help:"Refuse to start on a database that needs a schema migration."`
	NewAdminToken bool `help:"Write another admin token to admin_token_file. The earlier ones stay good."`
}

// Help is what "mayfly serve --help" says before the flags.
func (serveCommand) Help() string {
	return `Every key of the configuration file can also be set by environment, as ` +
		`MAYFLY_<SECTION>_<KEY> (publish.listen is MAYFLY_PUBLISH_LISTEN); flags go before environment, ` +
		`environment before file. The keys of the CA are encrypted with the passphrase in the file that ` +
		`MAYFLY_PASSPHRASE_FILE names, or in the systemd credential "mayfly-passphrase"; without either, ` +
		`the first start makes one and keeps it in the data directory.`
}

// Run serves until ctx ends.
func (cmd serveCommand) Run(ctx context.Context, std streams) error {
	flags := map[string]string{}
	for key, flag := range map[string]*string{
		"data_dir": cmd.DataDir, "database.url": cmd.DatabaseURL, "listen": cmd.Listen,
		"external_url": cmd.ExternalURL, "publish.listen": cmd.PublishListen,
		"metrics.listen": cmd.MetricsListen,
	} {
		if flag != nil {
			flags[key] = *flag
		}
	}
	c, err := config.Load(config.Source{File: cmd.Config, Environ: os.Environ(), Flags: flags})
	if err != nil {
		return err
	}
	return serve(ctx, c, cmd.startOptions, std)
}
