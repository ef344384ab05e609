"""Which test observes what an option does, not only that it is understood.

`test_options.py` checks that every option of the table is here and that the test exists and names
the option. A new option comes with a test and a row.
"""

from __future__ import annotations

EFFECTS = {
    "host": "test_listeners_wire.py::test_ipv6_is_served_and_told_in_brackets",
    "port": "test_listeners_wire.py::test_two_servers_cannot_have_one_port",
    "uds": "test_listeners_wire.py::test_unix_socket_is_served_and_told",
    "fd": "test_cli.py::test_inherited_descriptor_is_served",
    "loop": "test_cli.py::test_loop_is_the_one_asked_for",
    "http": "test_option_effects.py::test_every_name_of_http_is_the_engine",
    "lifespan": "test_option_effects.py::test_lifespan_is_spoken_as_told",
    "env_file": "test_option_effects.py::test_env_file_reaches_the_application",
    "log_config": "test_cli.py::test_log_config_for_uvicorn_is_honoured",
    "log_level": "test_option_effects.py::test_log_level_says_what_is_logged",
    "access_log": "test_cli.py::test_access_log_can_be_turned_off",
    "use_colors": "test_cli.py::test_colours_can_be_forced",
    "interface": "test_option_effects.py::test_interface_is_that_of_the_application",
    "proxy_headers": "test_option_effects.py::test_proxy_headers_can_be_turned_off",
    "server_header": "test_cli.py::test_server_and_date_headers_can_be_turned_off",
    "date_header": "test_cli.py::test_server_and_date_headers_can_be_turned_off",
    "forwarded_allow_ips": "test_option_effects.py::test_networks_are_trusted",
    "root_path": "test_cli.py::test_factory_and_root_path_reach_the_application",
    "limit_concurrency": "test_http1_limits.py::test_connections_beyond_the_limit_are_503",
    "limit_max_requests": "test_cli.py::test_request_limit_ends_the_process",
    "limit_max_requests_jitter": "test_server.py::test_jitter_of_the_request_limit_is_drawn_once",
    "backlog": "test_option_effects.py::test_backlog_is_that_of_the_socket",
    "timeout_keep_alive": (
        "test_http1_limits.py::test_idle_connection_is_closed_after_the_keep_alive_timeout"
    ),
    "timeout_notify": "test_server.py::test_notify_is_called_at_its_interval",
    "timeout_graceful_shutdown": "test_cli.py::test_grace_period_ends_a_hanging_request",
    "callback_notify": "test_server.py::test_notify_is_called_at_its_interval",
    "headers": ("test_cli.py::test_flag_wins_over_environment_and_own_name_over_that_of_uvicorn"),
    "factory": "test_cli.py::test_factory_and_root_path_reach_the_application",
    "h11_max_incomplete_event_size": (
        "test_option_effects.py::test_uvicorns_name_of_the_head_limit_is_obeyed"
    ),
    "reset_contextvars": "test_server.py::test_reset_contextvars_hides_the_context_of_the_server",
    "app_dir": "test_cli.py::test_factory_and_root_path_reach_the_application",
    "limit_request_headers": "test_http1_limits.py::test_limits_follow_the_options",
    "limit_request_header_bytes": "test_http1_limits.py::test_limits_follow_the_options",
    "timeout_request_header": "test_http1_limits.py::test_head_in_single_bytes_is_cut_by_its_clock",
    "timeout_request_body": "test_http1_limits.py::test_body_that_stops_is_cut_by_its_clock",
    "timeout_write": ("test_http1_limits.py::test_client_that_takes_nothing_of_a_response_is_cut"),
    "workers": "test_workers.py::test_workers_share_connections_evenly",
    "bind": "test_listeners_wire.py::test_every_bound_address_is_served_and_told",
    "limit_request_line": "test_http1_limits.py::test_limits_follow_the_options",
    "limit_request_body": (
        "test_http1_limits.py::test_announced_body_beyond_the_limit_is_413_before_the_application"
    ),
    "min_request_body_rate": (
        "test_http1_limits.py::test_body_in_single_bytes_is_cut_by_its_clock"
    ),
    "min_response_rate": (
        "test_http1_limits.py::test_client_that_takes_a_response_in_drops_is_cut"
    ),
    "timeout_shutdown_notice": (
        "test_shutdown_notice.py::test_event_stream_ends_before_the_grace_period_does"
    ),
    "accelerate": "test_accelerate.py::test_on_refuses_to_start_where_nothing_can_be_accelerated",
    "access_log_format": "test_access_format.py::test_duration_is_that_of_the_response",
    "log_json": "test_access_format.py::test_json_follows_the_format",
    "limit_concurrency_exempt": (
        "test_http1_limits.py::test_exempt_paths_are_served_beyond_the_limit"
    ),
    "ssl_keyfile": "test_tls_certificates.py::test_certificate_is_chosen_by_name",
    "ssl_certfile": "test_tls_certificates.py::test_certificate_is_chosen_by_name",
    "ssl_keyfile_password": (
        "test_tls_certificates.py::test_encrypted_key_is_read_with_its_password"
    ),
    "ssl_cert_reqs": (
        "test_tls_certificates.py::test_client_certificate_is_shown_to_the_application"
    ),
    "ssl_ca_certs": "test_tls_certificates.py::test_client_certificate_is_shown_to_the_application",
    "ssl_context_factory": "test_tls_certificates.py::test_context_factory_makes_the_context",
    "ssl_redirect_port": "test_tls_certificates.py::test_plain_http_is_sent_on_to_https",
    "ssl_version": "test_option_effects.py::test_tls_is_as_the_options_say",
    "ssl_ciphers": "test_option_effects.py::test_tls_is_as_the_options_say",
    "ws": "test_websocket_options.py::test_none_serves_the_upgrade_as_plain_http",
    "ws_max_size": "test_websocket_options.py::test_max_size_is_the_largest_message",
    "ws_max_queue": "test_websocket_options.py::test_reading_pauses_while_the_application_lags",
    "ws_ping_interval": "test_websocket_options.py::test_pings_are_sent_and_their_pongs_counted",
    "ws_ping_timeout": "test_websocket_options.py::test_client_that_vanishes_is_found",
    "ws_per_message_deflate": "test_websocket_options.py::test_deflate_can_be_turned_off",
    "ws_deflate_window_bits": (
        "test_websocket_options.py::test_deflate_options_are_what_is_agreed_on"
    ),
    "ws_deflate_context_takeover": (
        "test_websocket_options.py::test_deflate_options_are_what_is_agreed_on"
    ),
    "ws_deflate_codecs": "test_option_effects.py::test_codecs_of_websockets_are_kept",
    "ssl_handshake_timeout": "test_tls.py::test_handshake_has_its_time",
    "reload": "test_reload.py::test_change_is_served_and_told",
    "reload_dirs": "test_reload.py::test_change_is_served_and_told",
    "reload_includes": "test_reload.py::test_patterns_decide_what_matters",
    "reload_excludes": "test_reload.py::test_patterns_decide_what_matters",
    "reload_browser": "test_reload.py::test_browser_is_told_of_the_restart",
    "timeout_worker_healthcheck": "test_supervision.py::test_worker_that_is_stopped_is_replaced",
    "limit_max_memory": "test_supervision.py::test_worker_is_replaced_at_its_memory_limit",
    "drain_delay": "test_supervision.py::test_server_serves_on_and_says_that_it_is_not_ready",
    "readiness_path": "test_supervision.py::test_server_serves_on_and_says_that_it_is_not_ready",
    "preload": "test_supervision.py::test_preloaded_application_is_imported_once",
    "reload_delay": (
        "test_option_effects.py::test_reload_delay_lies_between_two_looks_at_the_files"
    ),
    "http2": "test_http2_requests.py::test_http_2_can_be_turned_off",
    "http2_max_concurrent_streams": "test_http2_bodies.py::test_options_are_told_to_the_peer",
    "http2_initial_stream_window_size": "test_http2_bodies.py::test_options_are_told_to_the_peer",
    "http2_initial_connection_window_size": (
        "test_http2_bodies.py::test_options_are_told_to_the_peer"
    ),
    "http2_max_frame_size": "test_http2_bodies.py::test_options_are_told_to_the_peer",
    "http2_max_header_list_size": "test_http2_bodies.py::test_options_are_told_to_the_peer",
    "io_uring": "test_gathering.py::test_there_is_a_ring_where_it_is_allowed",
    "static": "test_static_files.py::test_file_is_served",
    "proxy_protocol": "test_proxy_protocol.py::test_networks_and_unix_sockets_are_trusted_by_name",
    "forwarded_header": "test_option_effects.py::test_forwarded_header_says_which_fields_count",
    "strip_untrusted_forwarded": (
        "test_server.py::test_headers_that_claim_to_be_a_proxys_are_stripped"
    ),
}
