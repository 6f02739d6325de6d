module pion-client

go 1.19
