"""Thin translations: someone else's configuration -> our `RouteSpec`, their calls -> our `Event`. One file a system."""
