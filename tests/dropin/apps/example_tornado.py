"""Tornado with python-socketio: python example_tornado.py --port=PORT."""

# mypy: disable-error-code="import-not-found"

import socketio
import tornado.ioloop
import tornado.web
from example_events import PAGE, AsyncEvents
from tornado.options import define, options, parse_command_line

define("port", default=5000, type=int)

sio = socketio.AsyncServer(async_mode="tornado")
sio.register_namespace(AsyncEvents("/"))


class MainHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write(PAGE)


def main() -> None:
    parse_command_line()
    routes = [(r"/", MainHandler), (r"/socket.io/", socketio.get_tornado_handler(sio))]
    app = tornado.web.Application(routes, debug=False)
    app.listen(options.port)
    tornado.ioloop.IOLoop.current().start()


if __name__ == "__main__":
    main()
