module github.com/mailwire/mailwire

go 1.26.0

toolchain go1.26.9
