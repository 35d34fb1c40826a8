#!/bin/sh
# Starts the application with spawn-fcgi, which makes the socket and passes it on as file descriptor 0.
# `kill $(cat /run/app.pid)` ends it in good order, if it calls `Server::shutdown_on_signals` (feature `signals`).
#
# -u, -g   whose rights the application has
# -M, -G   who may connect: the group of the web server
# -F       how many processes share the socket; the file with their numbers has a line for each
# For TCP write `-a 127.0.0.1 -p 9000` in the place of -s, -M, -U and -G. A supervisor such as runit needs -n, too.
exec spawn-fcgi -s /run/app.sock -M 0660 -U app -G www-data -u app -g app -F 2 -P /run/app.pid -- /usr/local/bin/app
