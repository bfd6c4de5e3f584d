"""Django's settings for django-post-office, from the variables that `benchmarks.yardstick.running` sets."""

import os

SECRET_KEY = "used by nothing here"
INSTALLED_APPS = ["django.contrib.contenttypes", "post_office"]
USE_TZ = True
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["YARDSTICK_DATABASE_HOST"],
        "PORT": os.environ["YARDSTICK_DATABASE_PORT"],
        "NAME": os.environ["YARDSTICK_DATABASE_NAME"],
        "USER": os.environ["YARDSTICK_DATABASE_USER"],
        "PASSWORD": os.environ["YARDSTICK_DATABASE_PASSWORD"],
    }
}
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = int(os.environ["YARDSTICK_SMTP_PORT"])
POST_OFFICE = {
    "BATCH_SIZE": int(os.environ["YARDSTICK_BATCH_SIZE"]),
    "THREADS_PER_PROCESS": int(os.environ["YARDSTICK_THREADS"]),
    "BATCH_DELIVERY_TIMEOUT": 3600,
    # One log row per mail, as every hand-off of ours is recorded.
    "LOG_LEVEL": 2,
}
LOGGING = {"version": 1, "disable_existing_loggers": False, "loggers": {"post_office": {"level": "ERROR"}}}
